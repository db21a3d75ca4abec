// What zero-copy emission costs: `npx tsx bench/build.bench.ts [runs]` after `npm run build`. Builds engine directories for
// the ONNX Runtime backend from checkpoints of published shapes whose weights are holes in files, which a build never
// reads. Prints one JSON line and exits 1 when a limit is missed: the 1.1 B LLaMA in 1 s of CPU, 200 MB RSS, 2 MB written.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { sparseCheckpoint } from "../test/support/sparse-checkpoint.ts";

const BIN = fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url));
const LIMITS = { cpu: 1, rss: 200e6, written: 2e6 };
const PRESETS = ["llama-1.1b", "llava-1.5-7b", "llama-2-70b"] as const;

const runs = Number(process.argv[2] ?? 5);
const root = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));
const report = join(root, "usage");
const preload = join(root, "preload.cjs");
writeFileSync(
  preload,
  `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(report)}, JSON.stringify(process.resourceUsage())));`,
);

interface Sample {
  /** Seconds of CPU, user and system, of the whole process. */
  readonly cpu: number;
  readonly wall: number;
  readonly rss: number;
  readonly written: number;
}

function build(checkpoint: string): Sample {
  const output = join(root, "engines");
  const start = process.hrtime.bigint();
  const argv = ["build", "--checkpoint_dir", checkpoint, "--output_dir", output, "--json"];
  const text = execFileSync(process.execPath, ["--require", preload, BIN, ...argv], { encoding: "utf8" });
  const wall = Number(process.hrtime.bigint() - start) / 1e9;
  const usage = JSON.parse(readFileSync(report, "utf8"));
  const events = text
    .trim()
    .split("\n")
    .map(line => JSON.parse(line));
  const written = events.find(event => event.event === "result").written_bytes;
  rmSync(output, { recursive: true });
  return { cpu: (usage.userCPUTime + usage.systemCPUTime) / 1e6, wall, rss: usage.maxRSS * 1024, written };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(3));

try {
  const results = PRESETS.map(preset => {
    const checkpoint = sparseCheckpoint(join(root, preset), preset);
    build(checkpoint);
    const samples = Array.from({ length: runs }, () => build(checkpoint));
    return {
      preset,
      cpu: round(median(samples.map(s => s.cpu))),
      wall: round(median(samples.map(s => s.wall))),
      rss: Math.max(...samples.map(s => s.rss)),
      written: samples[0]?.written ?? Number.NaN,
    };
  });
  const [small] = results;
  const missed = (["cpu", "rss", "written"] as const)
    .filter(key => (small?.[key] ?? Number.NaN) > LIMITS[key])
    .map(key => `${key} ${small?.[key]}`);
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  console.log(JSON.stringify({ bench: "build", runs, results, missed, ...machine }));
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}
