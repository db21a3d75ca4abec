import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { copyExtra, copyInto, writeJson } from "../checkpoint/files.ts";
import { TOKENIZER_DIR } from "../checkpoint/manifest.ts";
import { type ConvertedCheckpoint, openCheckpoint } from "../checkpoint/read.ts";
import { fail, throwIfAny } from "../diagnostics/index.ts";
import { writeOnnx } from "../emit/onnx.ts";
import { ENGINE_MANIFEST, LOGS_DIR } from "../formats/engine-dir.ts";
import { environment } from "../options/env.ts";
import type { EngineReport, ToolEnvironment } from "../toolchain/tensorrt/request.ts";
import { builtOf, manifestOf, predictedHost } from "./engine-manifest.ts";
import { buildGraph, locationsOf, weightsOf } from "./engine-plans.ts";
import type { BuildEvent } from "./events.ts";
import { sha256 } from "./fingerprint.ts";
import { placeFile } from "./link.ts";
import { writeTables } from "./lora-tables.ts";
import { EngineOutput, outputState } from "./output.ts";
import type { BuildPlan, EnginePlan, Step } from "./plan.ts";
import { configFiles, logOf } from "./steps.ts";

/** Results of steps that were done before: they are linked into the directory instead of being made again. */
export interface Prebuilt {
  /** The .onnx of a part, by the part's name. */
  readonly graphs: ReadonlyMap<string, string>;
  readonly engines: ReadonlyMap<string, PrebuiltEngine>;
}

export interface PrebuiltEngine {
  readonly engine: string;
  readonly log: string;
  readonly report: EngineReport;
}

/** What a step of this run has to work with. */
interface Run {
  readonly plan: BuildPlan;
  readonly checkpoint: ConvertedCheckpoint;
  readonly stage: string;
  readonly output: EngineOutput;
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly prebuilt: Prebuilt | undefined;
  readonly written: { readonly files: string[]; readonly linked: Map<string, number> };
  /** By name of the part. */
  readonly reports: Map<string, EngineReport>;
}

/**
 * Carries the plan out, or says that there is nothing to do. The directory appears whole under its name; after an abort
 * or failure nothing is left, except that after a failure the builders' logs lie in `DIR.logs`. With `prebuilt` no engine
 * is built: the ones handed over are linked. Errors: the plan's own
 * problems, BLD001, BLD005, CKP…, GRF…, TRT… and ENV….
 */
export async function* runPlan(
  plan: BuildPlan,
  signal: AbortSignal,
  env: ToolEnvironment = environment(),
  prebuilt?: Prebuilt,
): AsyncGenerator<BuildEvent, void> {
  throwIfAny(plan.problems);
  const started = performance.now();
  const fresh: BuildEvent = {
    event: "fresh",
    dir: plan.output_dir,
    reason: "it was built from the same checkpoint with the same options and version",
  };
  if ((await outputState(plan)).state === "same") return yield fresh;
  const checkpoint = await openCheckpoint(plan.checkpoint_dir);
  try {
    const output = await EngineOutput.open(plan.output_dir);
    let end: "published" | "failed" | "stopped" = "stopped";
    try {
      // Again: another build may have published since, and is no longer seen.
      if ((await outputState(plan)).state === "same") return yield fresh;
      const { stage } = output;
      const written = { files: [], linked: new Map() };
      const run: Run = { plan, checkpoint, stage, output, env, signal, prebuilt, written, reports: new Map() };
      yield* runSteps(run);
      await writeJson(await place(run, ENGINE_MANIFEST), manifestOf(run));
      const sizes = await sizesOf(run);
      throwIfAny(await checkpoint.changed());
      signal.throwIfAborted();
      await output.publish();
      end = "published";
      const seconds = (performance.now() - started) / 1000;
      yield {
        event: "built",
        dir: plan.output_dir,
        files: run.written.files,
        ...sizes,
        engines: builtOf(run),
        seconds,
      };
    } catch (error) {
      if (!signal.aborted) end = "failed";
      throw error;
    } finally {
      // Also when the reader of events stops listening, which ends a generator without an error.
      if (end !== "published") await output.abandon();
      if (end === "stopped") await output.dropLogs(logsOf(plan));
    }
  } finally {
    await checkpoint.close();
  }
}

async function* runSteps(run: Run): AsyncGenerator<BuildEvent, void> {
  const byOutput = new Map(
    run.plan.engines.flatMap(e =>
      [e.weights, e.onnx, ...(e.tables ? [e.tables.file] : [])].map(file => [file, e] as const),
    ),
  );
  for (const step of run.plan.steps) {
    run.signal.throwIfAborted();
    if (step.kind === "engine") {
      // All of them at the first one: they do not depend on one another.
      if (run.reports.size === 0) yield* runEngines(run);
      continue;
    }
    yield { event: "step", id: step.id, state: "start" };
    const started = performance.now();
    const engine = byOutput.get(step.outputs[0] ?? "");
    if (step.kind === "link" && engine) yield* placeWeights(run, engine);
    else if (step.kind === "tables" && engine?.tables)
      await writeTables(run.checkpoint, engine, await place(run, engine.tables.file), run.signal);
    else if (step.kind === "emit" && engine) yield* placeGraph(run, engine);
    else if (step.kind === "adapter") await placeAdapter(run, step);
    else if (step.kind === "files") await writeFiles(run, step);
    else throw new Error(`step ${step.id} of kind ${step.kind} has nobody to run it`);
    yield { event: "step", id: step.id, state: "done", seconds: (performance.now() - started) / 1000 };
  }
}

async function* runEngines(run: Run): AsyncGenerator<BuildEvent, void> {
  if (run.prebuilt !== undefined) return yield* placeEngines(run, run.prebuilt);
  const { plan, stage, output, env, signal } = run;
  const { buildEngines } = await import("./run-engines.ts");
  const jobs = plan.engines.flatMap(engine => {
    const step = plan.steps.find(({ id }) => id === `engine ${engine.name}`);
    if (engine.request === null || step === undefined) return [];
    const memory = predictedHost(plan, engine.name);
    return [{ step, engine, request: engine.request, log: output.logFile(logOf(engine)), ...(memory && { memory }) }];
  });
  const { workers, builder, build_memory } = plan;
  const memoryLimit = build_memory.limit ?? undefined;
  const reports = yield* buildEngines({ jobs, workers, memoryLimit, stage, builder, env, signal });
  for (const [name, report] of reports) run.reports.set(name, report);
  run.written.files.push(...jobs.map(({ request }) => request.engine));
  await mkdir(join(stage, LOGS_DIR));
  await output.keepLogs(logsOf(plan));
  run.written.files.push(...logsOf(plan));
}

function logsOf(plan: BuildPlan): readonly string[] {
  return plan.engines.filter(engine => engine.request !== null).map(logOf);
}

async function* placeWeights(run: Run, engine: EnginePlan): AsyncGenerator<BuildEvent, void> {
  const target = await place(run, engine.weights);
  const options = { copy: run.plan.copy_weights, label: engine.weights, signal: run.signal };
  const placed = yield* placeFile(engine.source, target, options);
  if (placed.linked) run.written.linked.set(engine.weights, placed.bytes);
}

async function* placeEngines(run: Run, { engines }: Prebuilt): AsyncGenerator<BuildEvent, void> {
  const { plan, signal } = run;
  for (const { name, request } of plan.engines) {
    const built = engines.get(name);
    if (request === null || built === undefined) continue;
    for (const [source, file] of [
      [built.engine, request.engine],
      [built.log, logOf({ name })],
    ] as const) {
      const placed = yield* placeFile(source, await place(run, file), { copy: false, label: file, signal });
      if (placed.linked) run.written.linked.set(file, placed.bytes);
    }
    run.reports.set(name, built.report);
  }
}

async function* placeGraph(run: Run, engine: EnginePlan): AsyncGenerator<BuildEvent, void> {
  const { checkpoint, plan, prebuilt, signal } = run;
  const target = await place(run, engine.onnx);
  const source = prebuilt?.graphs.get(engine.name);
  if (source === undefined) return writeGraph(checkpoint, engine, plan.version, target);
  const placed = yield* placeFile(source, target, { copy: false, label: engine.onnx, signal });
  if (placed.linked) run.written.linked.set(engine.onnx, placed.bytes);
  if (sha256(await readFile(target)) !== engine.graph.onnx_sha256) changedSincePlan(engine);
}

/**
 * A part's graph as ONNX: built again from the plan's numbers. Errors: BLD005 when it has other bytes than planned, which
 * means that the checkpoint changed since.
 */
export async function writeGraph(
  checkpoint: ConvertedCheckpoint,
  engine: EnginePlan,
  version: string,
  target: string,
): Promise<void> {
  const weights = weightsOf(checkpoint, engine);
  if (weights === undefined) throw changedSincePlan(engine);
  const location = engine.weights.slice(engine.weights.indexOf("/") + 1);
  const graph = buildGraph(checkpoint, engine.kind, engine.options);
  await writeOnnx(graph, target, {
    location,
    tensors: locationsOf(weights.tensors, engine.tables),
    producerVersion: version,
  });
  if (sha256(await readFile(target)) !== engine.graph.onnx_sha256) changedSincePlan(engine);
}

async function placeAdapter(run: Run, { inputs, outputs }: Step): Promise<void> {
  for (const [i, input] of inputs.entries()) await copyInto(input, await place(run, outputs[i] as string));
}

async function writeFiles(run: Run, step: Step): Promise<void> {
  const { tokenizer, checkpoint_dir } = run.plan;
  for (const [name, config] of configFiles(run.plan)) await writeJson(await place(run, name), config);
  for (const name of tokenizer) {
    await copyExtra(join(checkpoint_dir, TOKENIZER_DIR, name), await place(run, `${TOKENIZER_DIR}/${name}`));
  }
  const missing = step.outputs.filter(file => !run.written.files.includes(file));
  if (missing.length > 0) throw new Error(`${missing.join(", ")} was planned and not written`);
}

async function sizesOf({ stage, written }: Run): Promise<{ written_bytes: number; linked_bytes: number }> {
  const own = written.files.filter(file => !written.linked.has(file));
  const sizes = await Promise.all(own.map(async file => (await stat(join(stage, file))).size));
  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);
  return { written_bytes: sum(sizes), linked_bytes: sum(written.linked.values()) };
}

/** The path in the stage for a file of the engine directory; its folder is made. */
async function place(run: Run, name: string): Promise<string> {
  const path = join(run.stage, name);
  await mkdir(dirname(path), { recursive: true });
  run.written.files.push(name);
  return path;
}

function changedSincePlan(engine: EnginePlan): never {
  fail({
    code: "BLD005",
    what: `the graph of ${engine.name} is not the planned one any more`,
    at: engine.source,
    why: "the checkpoint was written again between planning and building",
    fix: "run the build again",
  });
}
