// What the builder of an engine holds at most, beside what the plan predicts: `npx tsx bench/build-memory.bench.ts PYTHON [case …]`
// with a Python that has TensorRT-RTX. Makes models of published shapes, converts them and builds them one after the other for
// SM 86; prints a JSON line for each engine and exits 1 when a prediction is more than a quarter away. The 1.1 B models take a
// minute and up to 7 GB each. From the sources, so that it measures what stands there.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setup as makeWeights } from "../test/support/seeded-weights.ts";

await makeWeights();

const LIMIT = 0.25;
const [python = "python3", ...wanted] = process.argv.slice(2);
const MAIN = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const ROWS = ["--max_batch_size", "2", "--max_input_len", "256", "--max_seq_len", "512"];
const ONE = ["--max_batch_size", "1", "--max_input_len", "1024", "--max_seq_len", "2048"];
const INT4 = ["--use_weight_only", "--weight_only_precision", "int4"];

interface Case {
  readonly synth: string;
  readonly convert?: readonly string[];
  readonly build: readonly string[];
}

const CASES: Readonly<Record<string, Case>> = {
  "gpt2 float16": { synth: "--preset gpt2", build: ROWS },
  "gpt2 float32": { synth: "--preset gpt2", convert: ["--dtype", "float32"], build: ROWS },
  "llama 0.3 B float16": { synth: "--preset llama-1.1b --layers 4", build: ROWS },
  "llama 0.3 B bfloat16, single rows": {
    synth: "--preset llama-1.1b --layers 4",
    convert: ["--dtype", "bfloat16"],
    build: ONE,
  },
  "llama 1.1 B float16": { synth: "--preset llama-1.1b", build: ROWS },
  "llama 1.1 B int8": { synth: "--preset llama-1.1b", convert: ["--use_weight_only"], build: ROWS },
  "llama 1.1 B int4": { synth: "--preset llama-1.1b", convert: INT4, build: ROWS },
  "llama 1.1 B int4 g64": { synth: "--preset llama-1.1b", convert: [...INT4, "--group_size", "64"], build: ROWS },
  "llava 24 layers": { synth: "--preset llava-1.5-7b-hf --layers 24 --shrink 4", build: ONE },
  "nougat small": { synth: "--preset nougat-small", build: [] },
  "t5 small bfloat16": { synth: "--preset t5-small", convert: ["--dtype", "bfloat16"], build: ROWS },
  "blip2 opt": { synth: "--preset blip2-opt-2.7b --layers 4 --shrink 2", build: ROWS },
};

function mmtrt(argv: readonly string[]): string {
  return execFileSync(process.execPath, ["--import", "tsx", MAIN, ...argv], { encoding: "utf8", maxBuffer: 1 << 28 });
}

function measure(name: string, { synth, convert = [], build }: Case): number {
  const root = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));
  const [model, checkpoint, engines] = ["model", "checkpoint", "engines"].map(part => join(root, part)) as [
    string,
    string,
    string,
  ];
  try {
    mmtrt(["synth", model, ...synth.split(" "), "--quiet"]);
    mmtrt(["convert", model, "--output_dir", checkpoint, ...convert, "--quiet"]);
    rmSync(model, { recursive: true });
    const target = ["--backend", "tensorrt_rtx", "--python", python, "--compute_capabilities", "86"];
    const text = mmtrt([
      "build",
      "--checkpoint_dir",
      checkpoint,
      "--output_dir",
      engines,
      ...target,
      ...build,
      "--json",
    ]);
    const result = JSON.parse(text.trim().split("\n").at(-1) ?? "{}") as { engines: Built[] };
    const errors = result.engines.map(({ name: part, peak_host_mib: peak, predicted_host_mib: predicted, bytes }) => {
      const error = Number((predicted / peak - 1).toFixed(3));
      const sizes = { engine_mib: Math.round(bytes / 1024 ** 2), peak_mib: peak, predicted_mib: predicted, error };
      console.log(JSON.stringify({ bench: "build-memory", case: name, part, ...sizes }));
      return Math.abs(error);
    });
    return Math.max(...errors);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

interface Built {
  readonly name: string;
  readonly bytes: number;
  readonly peak_host_mib: number;
  readonly predicted_host_mib: number;
}

const chosen = Object.entries(CASES).filter(
  ([name]) => wanted.length === 0 || wanted.some(word => name.includes(word)),
);
const worst = Math.max(...chosen.map(([name, one]) => measure(name, one)));
process.exitCode = worst > LIMIT ? 1 : 0;
