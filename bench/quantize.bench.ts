// What weight-only costs: `npx tsx bench/quantize.bench.ts [runs] [dir]` after `npm run build`. Needs 6 GB under the temporary
// directory (removed at the end). Converts a synthetic 1.1 B LLaMA (fp16) as it is and as INT8, INT4 and INT4 in groups.
// Prints one JSON line and exits 1 when a limit is missed: 2 × the conversion without quantization, 400 MB RSS.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url));
const LIMITS = { ratio: 2, rss: 400e6 };
const INT4 = ["--use_weight_only", "--weight_only_precision", "int4"];
const FORMATS = { plain: [], int8: ["--use_weight_only"], int4: INT4, int4_g128: [...INT4, "--group_size", "128"] };
type Format = keyof typeof FORMATS;

const runs = Number(process.argv[2] ?? 3);
const root = mkdtempSync(join(process.argv[3] ?? tmpdir(), "mmtrt-bench-"));
const model = join(root, "model");
const report = join(root, "usage");
const preload = join(root, "preload.cjs");
writeFileSync(
  preload,
  `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(report)}, JSON.stringify(process.resourceUsage())));`,
);

interface Sample {
  readonly seconds: number;
  readonly cpu: number;
  readonly rss: number;
}

/** Wall clock, CPU seconds and peak resident bytes of `mmtrt …`. */
function mmtrt(...argv: string[]): Sample {
  const start = process.hrtime.bigint();
  execFileSync(process.execPath, ["--require", preload, BIN, ...argv, "--quiet"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const usage = JSON.parse(readFileSync(report, "utf8")) as Record<string, number>;
  return {
    seconds,
    cpu: ((usage.userCPUTime ?? 0) + (usage.systemCPUTime ?? 0)) / 1e6,
    rss: (usage.maxRSS ?? 0) * 1024,
  };
}

function convert(format: Format): Sample {
  const output = join(root, format);
  const sample = mmtrt("convert", model, "--output_dir", output, ...FORMATS[format]);
  rmSync(output, { recursive: true });
  return sample;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(3));
const formats = Object.keys(FORMATS) as Format[];
const ofEach = (value: (format: Format) => number): Record<string, number> =>
  Object.fromEntries(formats.map(format => [format, round(value(format))]));

try {
  mmtrt("synth", model, "--preset", "llama-1.1b");
  const bytes = statSync(join(model, "model.safetensors")).size;
  convert("plain");
  // In turn, so that a busy moment of the machine hits all alike.
  const samples = Array.from({ length: runs }, () => formats.map(format => [format, convert(format)] as const)).flat();
  const of = (format: Format, key: keyof Sample): number[] =>
    samples.filter(([name]) => name === format).map(([, sample]) => sample[key]);
  const ratio = ofEach(format => median(of(format, "seconds")) / median(of("plain", "seconds")));
  const rss = Math.max(...samples.map(([, sample]) => sample.rss));
  const missed = [
    ...formats
      .filter(format => (ratio[format] ?? 0) > LIMITS.ratio)
      .map(format => `${format} ${ratio[format]} × plain`),
    ...(rss > LIMITS.rss ? [`rss ${rss}`] : []),
  ];
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  console.log(
    JSON.stringify({
      bench: "quantize",
      bytes,
      runs,
      seconds: ofEach(format => median(of(format, "seconds"))),
      cpu_seconds: ofEach(format => median(of(format, "cpu"))),
      ratio,
      max_rss: rss,
      missed,
      ...machine,
    }),
  );
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}
