// The matrix of CI: `npx tsx bench/matrix.bench.ts PYTHON [workers]` after `npm run build`, with a Python that has TensorRT-RTX.
// 24 cells (6 trained families × 2 precisions × 2 SMs) are built cold, then warm, then with one option changed. Prints one
// JSON line and exits 1 when a limit is missed: cold time 1.25 × (sum of the distinct steps ÷ workers), warm 2 s with no
// step done, and after max_seq_len no conversion, no graph and no visual engine.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { MatrixResult, StepResult } from "../src/build/matrix/events.ts";
import { setup as makeWeights } from "../test/support/seeded-weights.ts";

await makeWeights();

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FAMILIES = ["blip2-opt", "blip2-t5", "gpt2", "llava", "nougat", "vila"] as const;
const LIMITS = { cold: 1.25, warm: 2 };

const python = process.argv[2];
if (python === undefined) throw new Error("npx tsx bench/matrix.bench.ts PYTHON [workers]");
const workers = Number(process.argv[3] ?? cpus().length);
const root = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));

const MATRIX = {
  models: Object.fromEntries(FAMILIES.map(name => [name, join(ROOT, "test/fixtures/models", `${name}-shapes`)])),
  targets: { ampere: { compute_capabilities: 86 }, blackwell: { compute_capabilities: 120 } },
  defaults: { build: { backend: "tensorrt_rtx", builder: "python", python } },
  matrix: { precision: ["float16", "float32"], target: ["ampere", "blackwell"] },
};

interface Ran {
  readonly result: MatrixResult;
  /** Of the whole process. */
  readonly seconds: number;
}

function run(matrix: object): Ran {
  // JSON is YAML.
  writeFileSync(join(root, "matrix.yaml"), JSON.stringify(matrix));
  const start = process.hrtime.bigint();
  const argv = [
    "matrix",
    "matrix.yaml",
    "--json",
    "--workers",
    String(workers),
    "--junit",
    "junit.xml",
    "--html",
    "report.html",
  ];
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "bin/mmtrt.js"), ...argv], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 256 << 20,
  });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (status !== 0) throw new Error(`ended with ${status}: ${stdout.slice(-4000)}${stderr}`);
  const events = stdout
    .trim()
    .split("\n")
    .map(line => JSON.parse(line));
  return { result: events.find(({ event }) => event === "result"), seconds };
}

const done = ({ result }: Ran): readonly StepResult[] => result.steps.filter(({ state }) => state === "done");
const sum = (steps: readonly StepResult[]): number => steps.reduce((total, { seconds }) => total + seconds, 0);
const round = (value: number): number => Number(value.toFixed(3));

try {
  const cold = run(MATRIX);
  const warm = Array.from({ length: 5 }, () => run(MATRIX));
  const changed = run({ ...MATRIX, overrides: [{ when: { model: "llava" }, max_input_len: 101, max_seq_len: 200 }] });
  const warmSeconds = warm.map(({ seconds }) => seconds).sort((a, b) => a - b)[2] ?? Number.NaN;
  const ratio = cold.seconds / (sum(done(cold)) / workers);
  const again = done(changed).map(({ label }) => label);
  const missed = [
    ...(cold.result.cells.every(({ state }) => state === "built") && cold.result.cells.length === 24
      ? []
      : ["24 cells"]),
    ...(ratio < LIMITS.cold ? [] : [`cold ${ratio}`]),
    ...(warmSeconds < LIMITS.warm ? [] : [`warm ${warmSeconds}`]),
    ...(warm.every(ran => done(ran).length === 0) ? [] : ["steps done when warm"]),
    ...(again.some(label => /^(convert|graph|engine visual)/.test(label)) ? [`rebuilt ${again}`] : []),
  ];
  const results = {
    cells: cold.result.cells.length,
    workers,
    steps: done(cold).length,
    cold: round(cold.seconds),
    work: round(sum(done(cold))),
    ratio: round(ratio),
    warm: round(warmSeconds),
    rebuilt_after_max_seq_len: again.length,
  };
  const junit = readFileSync(join(root, "junit.xml"), "utf8").match(/<testcase /g)?.length;
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    load: round(loadavg()[0] ?? 0),
    node: process.version,
  };
  console.log(JSON.stringify({ bench: "matrix", ...results, junit, missed, ...machine }));
  process.exitCode = missed.length === 0 ? 0 : 1;
} finally {
  rmSync(root, { recursive: true, force: true });
}
