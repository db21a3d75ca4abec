// Published models at full size: `npx tsx bench/families.bench.ts [runs] [dir] [model …]` after `npm run build`. Needs three
// times the largest model under the temporary directory (43 GB; removed model by model). For each model: synth → convert →
// graphs for ONNX Runtime, beside `cp` + fsync of the same bytes. Prints one JSON line and exits 1 when a limit is missed:
// convert in 1.5 × cp and 250 MB RSS, graphs in 3 s.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setup as makeWeights } from "../test/support/seeded-weights.ts";

await makeWeights();

const BIN = fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url));
const LIMITS = { ratio: 1.5, rss: 250e6, graphs: 3 };

const [runs = "1", dir = tmpdir(), ...asked] = process.argv.slice(2);
const models = asked.length > 0 ? asked : ["nougat-base", "blip2-opt-2.7b", "llava-1.5-7b-hf"];
const root = mkdtempSync(join(dir, "mmtrt-bench-"));
const path = (name: string): string => join(root, name);
writeFileSync(
  path("preload.cjs"),
  `process.on("exit", () => require("fs").writeFileSync(${JSON.stringify(path("rss"))}, String(process.resourceUsage().maxRSS)));`,
);

interface Sample {
  /** Wall clock. */
  readonly seconds: number;
  /** Peak resident bytes. */
  readonly rss: number;
}

function timed(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

function mmtrt(...argv: string[]): Sample {
  const seconds = timed(() =>
    execFileSync(process.execPath, ["--require", path("preload.cjs"), BIN, ...argv, "--quiet"], {
      stdio: ["ignore", "ignore", "inherit"],
    }),
  );
  return { seconds, rss: Number(readFileSync(path("rss"), "utf8")) * 1024 };
}

function filesBelow(folder: string, ending: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter(name => name.endsWith(ending))
    .map(name => join(folder, name));
}

function bytesOf(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + statSync(file).size, 0);
}

/** The least that any copy which survives a power cut costs. */
function copy(): number {
  const seconds = timed(() => {
    execFileSync("cp", ["-r", path("model"), path("copy")]);
    for (const file of filesBelow(path("copy"), ".safetensors")) {
      const handle = openSync(file, "r+");
      fsyncSync(handle);
      closeSync(handle);
    }
  });
  rmSync(path("copy"), { recursive: true });
  return seconds;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(3));

function measure(model: string) {
  const made = mmtrt("synth", path("model"), "--preset", model);
  const bytes = bytesOf(filesBelow(path("model"), ".safetensors"));
  // In turn, so that a busy moment of the machine hits both alike.
  const samples = Array.from({ length: Number(runs) }, (_, i) => {
    if (i > 0) rmSync(path("checkpoint"), { recursive: true });
    return { cp: copy(), convert: mmtrt("convert", path("model"), "--output_dir", path("checkpoint")) };
  });
  const graphs = mmtrt("build", "--checkpoint_dir", path("checkpoint"), "--output_dir", path("engines"));
  const onnx = bytesOf(filesBelow(path("engines"), ".onnx"));
  for (const name of ["model", "checkpoint", "engines"]) rmSync(path(name), { recursive: true });
  const [cp, convert] = [median(samples.map(s => s.cp)), median(samples.map(s => s.convert.seconds))];
  return {
    model,
    bytes,
    seconds: {
      synth: round(made.seconds),
      cp_fsync: round(cp),
      convert: round(convert),
      graphs: round(graphs.seconds),
    },
    ratio: round(convert / cp),
    convert_mb_s: Math.round(bytes / 1e6 / convert),
    max_rss: { convert: Math.max(...samples.map(s => s.convert.rss)), graphs: graphs.rss },
    graph_bytes: onnx,
  };
}

try {
  const results = models.map(measure);
  const missed = results.flatMap(({ model, ratio, seconds, max_rss }) => [
    ...(ratio > LIMITS.ratio ? [`${model}: ${ratio} × cp`] : []),
    ...(max_rss.convert > LIMITS.rss ? [`${model}: rss ${max_rss.convert}`] : []),
    ...(seconds.graphs > LIMITS.graphs ? [`${model}: graphs ${seconds.graphs} s`] : []),
  ]);
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version };
  console.log(JSON.stringify({ bench: "families", runs: Number(runs), models: results, missed, ...machine }));
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}
