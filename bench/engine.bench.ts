// What mmtrt adds to TensorRT's own build: `npx tsx bench/engine.bench.ts PYTHON [runs] [preset]` after `npm run build`, with
// a Python that has TensorRT-RTX. Builds the 1.1 B LLaMA in float16 for SM 86 by `mmtrt build` and by the least Python
// program that does it, in turn. Wall time moves with whatever else the machine does, so processor time is shown beside it:
// of both processes with their children. Wall time is split into TensorRT's own calls, writing the engine (mmtrt flushes it
// to disk), and what is done around them; the least program's part of that is loading the library. Prints one JSON line and
// exits 1 when mmtrt's part is larger than that by more than 3 % of the least program's time.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const MMTRT = [process.execPath, fileURLToPath(new URL("../bin/mmtrt.js", import.meta.url))];
const BASELINE = fileURLToPath(new URL("support/baseline_build.py", import.meta.url));
const LIMIT = 0.03;
const SM = 86;

const [python = "python3", runs = "1", preset = "llama-1.1b"] = process.argv.slice(2);
const root = mkdtempSync(join(tmpdir(), "mmtrt-bench-"));
const path = (name: string): string => join(root, name);

interface Timed {
  readonly wall: number;
  readonly cpu: number;
  readonly stdout: string;
}

/** Wall and processor seconds of a command with its children, as bash counts them. */
function timed(argv: readonly string[]): Timed {
  const script = `TIMEFORMAT='%R %U %S'; { time "$@" 2>&3; } 3>/dev/null 2>${path("time")}`;
  const stdout = execFileSync("bash", ["-c", script, "bash", ...argv], { encoding: "utf8", maxBuffer: 1 << 28 });
  const [wall = 0, user = 0, system = 0] = readFileSync(path("time"), "utf8").trim().split(" ").map(Number);
  return { wall, cpu: user + system, stdout };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const round = (value: number): number => Number(value.toFixed(3));

function argvOf(output: string): string[] {
  const limits = ["--max_batch_size", "4", "--max_input_len", "512", "--max_seq_len", "1024"];
  const target = ["--backend", "tensorrt_rtx", "--python", python, "--compute_capabilities", String(SM)];
  return [...MMTRT, "build", "--checkpoint_dir", path("checkpoint"), "--output_dir", output, ...limits, ...target];
}

function build() {
  const ours = timed([...argvOf(path("engines")), "--json"]);
  const log = readFileSync(join(path("engines"), "logs/llm.rank0.log"), "utf8").split("\n");
  const engine = log.filter(line => line.startsWith('{"event": "engine"') || line.startsWith('{"event":"engine"'));
  const { seconds, bytes, peak_host_mib } = JSON.parse(engine[0] ?? "{}");
  rmSync(path("engines"), { recursive: true });
  const tensorrt = seconds.parse + seconds.build;
  return {
    ...ours,
    tensorrt,
    write: seconds.write,
    around: ours.wall - tensorrt - seconds.write,
    bytes,
    peak_host_mib,
  };
}

function baseline() {
  const plain = timed([python, BASELINE, path("request.json")]);
  const seconds = JSON.parse(plain.stdout.trim().split("\n").at(-1) ?? "{}");
  return { ...plain, write: seconds.write, around: plain.wall - seconds.parse - seconds.build - seconds.write };
}

try {
  execFileSync(MMTRT[0]!, [MMTRT[1]!, "synth", path("model"), "--preset", preset, "--quiet"]);
  execFileSync(MMTRT[0]!, [
    MMTRT[1]!,
    ...["convert", path("model"), "--output_dir", path("checkpoint"), "--dtype", "float16", "--quiet"],
  ]);
  rmSync(path("model"), { recursive: true });
  // The graph that both read, from the plan that mmtrt carries out.
  const plan = timed([...argvOf(path("graph")), "--plan", "--json"]);
  const step = JSON.parse(plan.stdout.trim().split("\n").at(-1) ?? "{}").steps.find((s: { stdin?: string }) => s.stdin);
  const onnx = argvOf(path("graph")).map(word => (word === "tensorrt_rtx" ? "onnxruntime" : word));
  execFileSync(MMTRT[0]!, [...onnx.slice(1), "--quiet"], { stdio: ["ignore", "ignore", "ignore"] });
  writeFileSync(path("request.json"), JSON.stringify({ ...JSON.parse(step.stdin), engine: path("plain.engine") }));

  const samples = Array.from({ length: Number(runs) }, () => ({ plain: baseline(), ours: build() }));
  const of = (get: (sample: (typeof samples)[number]) => number): number => round(median(samples.map(get)));
  const overhead = of(({ ours, plain }) => (ours.around - plain.around) / plain.wall);
  const result = {
    preset,
    runs: samples.length,
    engine_bytes: samples[0]?.ours.bytes,
    peak_host_mib: samples[0]?.ours.peak_host_mib,
    baseline: {
      wall: of(s => s.plain.wall),
      cpu: of(s => s.plain.cpu),
      write: of(s => s.plain.write),
      around: of(s => s.plain.around),
    },
    mmtrt: {
      wall: of(s => s.ours.wall),
      cpu: of(s => s.ours.cpu),
      tensorrt: of(s => s.ours.tensorrt),
      write: of(s => s.ours.write),
      around: of(s => s.ours.around),
    },
    overhead,
    cpu_ratio: of(({ ours, plain }) => ours.cpu / plain.cpu),
    limit: LIMIT,
  };
  console.log(JSON.stringify(result));
  process.exitCode = overhead > LIMIT ? 1 : 0;
} finally {
  rmSync(root, { recursive: true, force: true });
}
