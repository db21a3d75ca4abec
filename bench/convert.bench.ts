// What streaming buys: `npx tsx bench/convert.bench.ts [runs] [dir]` after `npm run build`. Needs 9 GB under the temporary
// directory (removed at the end). Converts a synthetic 1.1 B LLaMA (fp16) at tp_size 1 and 2 beside `cp` + fsync of the
// same bytes. Prints one JSON line and exits 1 when a limit is missed: 1.5 × at tp_size 1, 2 × at tp_size 2, 250 MB RSS.
import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url));
const LIMITS = { tp1: 1.5, tp2: 2, rss: 250e6 };

const runs = Number(process.argv[2] ?? 3);
const root = mkdtempSync(join(process.argv[3] ?? tmpdir(), "mmtrt-bench-"));
const model = join(root, "model");
const report = join(root, "rss");
const preload = join(root, "preload.cjs");
writeFileSync(
  preload,
  `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(report)}, String(process.resourceUsage().maxRSS)));`,
);

/** Seconds of wall clock and peak resident bytes of `mmtrt …`. */
function mmtrt(...argv: string[]): { seconds: number; rss: number } {
  const start = process.hrtime.bigint();
  execFileSync(process.execPath, ["--require", preload, BIN, ...argv, "--quiet"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  return { seconds: Number(process.hrtime.bigint() - start) / 1e9, rss: Number(readFileSync(report, "utf8")) * 1024 };
}

/** `cp` and fsync: the least that any copy which survives a power cut costs. */
function copy(): number {
  const target = join(root, "copy.safetensors");
  const start = process.hrtime.bigint();
  execFileSync("cp", [join(model, "model.safetensors"), target]);
  const file = openSync(target, "r+");
  fsyncSync(file);
  closeSync(file);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  rmSync(target);
  return seconds;
}

function convert(tp: number): { seconds: number; rss: number } {
  const output = join(root, `tp${tp}`);
  const result = mmtrt("convert", model, "--output_dir", output, "--tp_size", String(tp), "--workers", String(tp));
  rmSync(output, { recursive: true });
  return result;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(3));

try {
  const made = mmtrt("synth", model, "--preset", "llama-1.1b");
  const bytes = statSync(join(model, "model.safetensors")).size;
  copy();
  // In turn, so that a busy moment of the machine hits all alike.
  const samples = Array.from({ length: runs }, () => ({ cp: copy(), tp1: convert(1), tp2: convert(2) }));
  const cp = median(samples.map(s => s.cp));
  const [tp1, tp2] = [median(samples.map(s => s.tp1.seconds)), median(samples.map(s => s.tp2.seconds))];
  const rss = Math.max(...samples.flatMap(s => [s.tp1.rss, s.tp2.rss]));
  const missed = [
    ...(tp1 / cp > LIMITS.tp1 ? [`tp1 ${round(tp1 / cp)} × cp`] : []),
    ...(tp2 / cp > LIMITS.tp2 ? [`tp2 ${round(tp2 / cp)} × cp`] : []),
    ...(rss > LIMITS.rss ? [`rss ${rss}`] : []),
  ];
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  const seconds = { cp_fsync: round(cp), tp1: round(tp1), tp2: round(tp2), synth: round(made.seconds) };
  console.log(
    JSON.stringify({
      bench: "convert",
      bytes,
      runs,
      seconds,
      ratio: { tp1: round(tp1 / cp), tp2: round(tp2 / cp) },
      synth_mb_s: Math.round(bytes / 1e6 / made.seconds),
      max_rss: rss,
      missed,
      ...machine,
    }),
  );
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}
