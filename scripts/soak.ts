import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { ROOT } from "../test/support/sources.ts";

/**
 * `npx tsx scripts/soak.ts [--requests 2000] [--results FILE]` after `npm run build`: one session of `mmtrt run` answers that
 * many requests with pictures; its memory must not grow after the first quarter. Linux, where /proc tells the memory.
 */
const { values } = parseArgs({
  options: { requests: { type: "string", default: "2000" }, results: { type: "string" } },
});
const MMTRT = join(ROOT, "bin/mmtrt.js");
const SHAPES = join(ROOT, "test/fixtures/models/llava-shapes");
/** What 1000 requests may add: answers are kept for the last event, a kilobyte each. */
const MOST_MIB = 2;

interface Sample {
  readonly request: number;
  readonly mib: number;
  readonly ms: number;
}

async function main(): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), "mmtrt-soak-"));
  try {
    const mmtrt = (...argv: string[]): void =>
      void execFileSync(process.execPath, [MMTRT, ...argv], { stdio: "ignore" });
    mmtrt("convert", SHAPES, "--output_dir", join(dir, "checkpoint"));
    const limits = ["--max_batch_size", "1", "--max_input_len", "128", "--max_seq_len", "160"];
    mmtrt("build", "--checkpoint_dir", join(dir, "checkpoint"), "--output_dir", join(dir, "engine"), ...limits);
    const samples = await answered(dir, Number(values.requests));
    const result = summary(samples);
    console.log(JSON.stringify(result));
    if (values.results !== undefined) appendFileSync(values.results, `${JSON.stringify(result)}\n`);
    return samples.length === Number(values.requests) && result.mib_per_1000_requests <= MOST_MIB ? 0 : 1;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

async function answered(dir: string, requests: number): Promise<readonly Sample[]> {
  const file = join(dir, "requests.jsonl");
  const pictures = ["demo.png", "demo-dark.png", "demo-four.png"].map(name => join(SHAPES, name));
  const line = (_: unknown, i: number): string =>
    JSON.stringify({ image: pictures[i % pictures.length], input_text: `what is shown${"?".repeat(1 + (i % 7))}` });
  writeFileSync(file, Array.from({ length: requests }, line).join("\n"));
  const argv = ["run", "--engine_dir", join(dir, "engine"), "--input_file", file, "--max_new_tokens", "8", "--json"];
  const child = spawn(process.execPath, [MMTRT, ...argv], { stdio: ["ignore", "pipe", "inherit"] });
  const samples: Sample[] = [];
  let last = performance.now();
  for await (const text of createInterface({ input: child.stdout })) {
    const event = JSON.parse(text) as { readonly event: string; readonly line: number };
    if (event.event !== "answer") continue;
    const now = performance.now();
    samples.push({ request: event.line, mib: residentMib(child.pid), ms: now - last });
    last = now;
  }
  return samples;
}

function residentMib(pid: number | undefined): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

function summary(
  samples: readonly Sample[],
): Readonly<Record<string, unknown>> & { readonly mib_per_1000_requests: number } {
  const settled = samples.slice(Math.floor(samples.length / 4));
  const times = settled.map(({ ms }) => ms).sort((a, b) => a - b);
  const at = (part: number): number => round(times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0);
  return {
    bench: "soak",
    command: "mmtrt run --input_file, one picture a request, 8 tokens, llava-shapes on ONNX Runtime",
    requests: samples.length,
    mib_per_1000_requests: round(1000 * slopeOf(settled)),
    mib: {
      first: round(samples[0]?.mib ?? 0),
      settled: round(settled[0]?.mib ?? 0),
      last: round(settled.at(-1)?.mib ?? 0),
    },
    ms: { p50: at(0.5), p99: at(0.99) },
    machine: {
      cpu: cpus()[0]?.model.trim(),
      cores: cpus().length,
      node: process.version,
      load: round(loadavg()[0] ?? 0),
    },
  };
}

/** Least squares of memory over the number of the request. */
function slopeOf(samples: readonly Sample[]): number {
  const mean = (of: (sample: Sample) => number): number =>
    samples.reduce((sum, one) => sum + of(one), 0) / samples.length;
  const [x, y] = [mean(one => one.request), mean(one => one.mib)];
  const above = samples.reduce((sum, { request, mib }) => sum + (request - x) * (mib - y), 0);
  return above / samples.reduce((sum, { request }) => sum + (request - x) ** 2, 0);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

process.exitCode = await main();
