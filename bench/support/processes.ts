import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A program to time: `node` with these arguments, which must end with this exit code. */
export interface Program {
  readonly name: string;
  readonly argv: readonly string[];
  readonly exitCode: number;
}

export interface Timing {
  readonly name: string;
  readonly runs: number;
  /** Seconds of wall clock. */
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
  /** Median over the rounds of this program's time by the first program's: a busy moment hits both. */
  readonly ratio: number;
  /** Largest resident set, in bytes, of separate runs. */
  readonly maxRss: number;
  /** Seconds of processor time in the median of those runs. */
  readonly cpu: number;
}

const WARM_UP = 2;
const USAGE_RUNS = 9;

/** Times the programs in turn, so that a busy moment of the machine hits all of them alike. */
export function timePrograms(programs: readonly Program[], runs: number): readonly Timing[] {
  const seconds = programs.map((): number[] => []);
  for (let i = -WARM_UP; i < runs; i++) {
    for (const [j, program] of programs.entries()) {
      const took = wallClock(program);
      if (i >= 0) seconds[j]?.push(took);
    }
  }
  return programs.map((program, j) => {
    const own = seconds[j] ?? [];
    const ratios = own.map((took, i) => took / (seconds[0]?.[i] ?? Number.NaN)).sort((a, b) => a - b);
    const sorted = own.toSorted((a, b) => a - b);
    const at = (part: number): number =>
      sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
    const { rss, cpu } = resourcesOf(program);
    return {
      name: program.name,
      runs,
      ratio: ratios[Math.floor(runs / 2)] ?? Number.NaN,
      median: at(0.5),
      p10: at(0.1),
      p90: at(0.9),
      maxRss: rss,
      cpu,
    };
  });
}

function wallClock(program: Program): number {
  const start = process.hrtime.bigint();
  runOnce(program, {});
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function runOnce({ name, argv, exitCode }: Program, env: Record<string, string>): void {
  const { status, stderr } = spawnSync(process.execPath, argv, {
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  if (status !== exitCode) throw new Error(`${name} ended with ${status}, not ${exitCode}: ${stderr}`);
}

interface Resources {
  /** Bytes. */
  readonly rss: number;
  /** Seconds of processor time, all threads: what a busy machine stretches least. */
  readonly cpu: number;
}

/** Asked of the process itself as it exits: the preload that asks costs time, so these runs are not timed. */
function resourcesOf(program: Program): Resources {
  const dir = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));
  try {
    const report = join(dir, "usage");
    const preload = join(dir, "preload.cjs");
    writeFileSync(
      preload,
      `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(report)}, JSON.stringify(process.resourceUsage())));`,
    );
    const usages = Array.from({ length: USAGE_RUNS }, () => {
      runOnce(program, { NODE_OPTIONS: `--require=${preload}` });
      return JSON.parse(readFileSync(report, "utf8")) as NodeJS.ResourceUsage;
    });
    const cpu = usages.map(u => (u.userCPUTime + u.systemCPUTime) / 1e6).sort((a, b) => a - b);
    return { rss: Math.max(...usages.map(u => u.maxRSS)) * 1024, cpu: cpu[USAGE_RUNS >> 1] ?? Number.NaN };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
