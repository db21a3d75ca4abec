import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { copyInto, writeJson } from "../checkpoint/files.ts";
import { TOKENIZER_DIR } from "../checkpoint/manifest.ts";
import { type ConvertedCheckpoint, openCheckpoint } from "../checkpoint/read.ts";
import { fail, throwIfAny } from "../diagnostics/index.ts";
import { writeOnnx } from "../emit/onnx.ts";
import type { EngineManifest } from "../formats/engine-config.ts";
import { ENGINE_MANIFEST, LLM_CONFIG, VISUAL_CONFIG } from "../formats/engine-dir.ts";
import { buildGraph, locationsOf } from "./engine-plans.ts";
import type { BuildEvent } from "./events.ts";
import { sha256 } from "./fingerprint.ts";
import { placeFile } from "./link.ts";
import { EngineOutput, outputState } from "./output.ts";
import type { BuildPlan, EnginePlan, Step } from "./plan.ts";

/** What a step of this run has to work with. */
interface Run {
  readonly plan: BuildPlan;
  readonly checkpoint: ConvertedCheckpoint;
  readonly stage: string;
  readonly signal: AbortSignal;
  readonly written: { readonly files: string[]; readonly linked: Map<string, number> };
}

/**
 * Carries the plan out, or says that there is nothing to do. The directory appears whole under its name; after an abort
 * or failure nothing is left. Errors: the plan's own problems, BLD001, BLD004, BLD005, CKP… and GRF….
 */
export async function* runPlan(plan: BuildPlan, signal: AbortSignal): AsyncGenerator<BuildEvent, void> {
  throwIfAny(plan.problems);
  refuseUnwired(plan);
  const started = performance.now();
  const before = await outputState(plan);
  if (before.state === "same") {
    const reason = "it was built from the same checkpoint with the same options and version";
    yield { event: "fresh", dir: plan.output_dir, reason };
    return;
  }
  const checkpoint = await openCheckpoint(plan.checkpoint_dir);
  try {
    const output = await EngineOutput.open(plan.output_dir);
    let published = false;
    try {
      const run: Run = { plan, checkpoint, stage: output.stage, signal, written: { files: [], linked: new Map() } };
      yield* runSteps(run);
      await writeManifest(run);
      const sizes = await sizesOf(run);
      signal.throwIfAborted();
      await output.publish();
      published = true;
      const seconds = (performance.now() - started) / 1000;
      yield { event: "built", dir: plan.output_dir, files: run.written.files, ...sizes, seconds };
    } finally {
      // Also when the reader of events stops listening, which ends a generator without an error.
      if (!published) await output.abandon();
    }
  } finally {
    await checkpoint.close();
  }
}

async function* runSteps(run: Run): AsyncGenerator<BuildEvent, void> {
  const byOutput = new Map(run.plan.engines.flatMap(e => [e.weights, e.onnx].map(file => [file, e] as const)));
  for (const step of run.plan.steps) {
    run.signal.throwIfAborted();
    yield { event: "step", id: step.id, state: "start" };
    const started = performance.now();
    const engine = byOutput.get(step.outputs[0] ?? "");
    if (step.kind === "link" && engine) yield* placeWeights(run, engine);
    else if (step.kind === "emit" && engine) await emitGraph(run, engine);
    else if (step.kind === "files") await writeFiles(run, step);
    else throw new Error(`step ${step.id} of kind ${step.kind} has nobody to run it`);
    yield { event: "step", id: step.id, state: "done", seconds: (performance.now() - started) / 1000 };
  }
}

async function* placeWeights(run: Run, engine: EnginePlan): AsyncGenerator<BuildEvent, void> {
  const target = await place(run, engine.weights);
  const options = { copy: run.plan.copy_weights, label: engine.weights, signal: run.signal };
  const placed = yield* placeFile(engine.source, target, options);
  if (placed.linked) run.written.linked.set(engine.weights, placed.bytes);
}

/** The graph is built again from the plan's numbers; other bytes than planned mean that the checkpoint changed since. */
async function emitGraph(run: Run, engine: EnginePlan): Promise<void> {
  const { checkpoint, plan } = run;
  const weights = engine.kind === "visual" ? checkpoint.visual : checkpoint.ranks[engine.rank];
  if (weights === undefined) throw changedSincePlan(engine);
  const target = await place(run, engine.onnx);
  const location = engine.weights.slice(engine.weights.indexOf("/") + 1);
  const graph = buildGraph(checkpoint, engine.kind, engine.options);
  const options = { location, tensors: locationsOf(weights.tensors), producerVersion: plan.version };
  await writeOnnx(graph, target, options);
  if (sha256(await readFile(target)) !== engine.graph.onnx_sha256) changedSincePlan(engine);
}

async function writeFiles(run: Run, step: Step): Promise<void> {
  const { configs, tokenizer, checkpoint_dir } = run.plan;
  for (const [name, config] of [
    [LLM_CONFIG, configs.llm],
    [VISUAL_CONFIG, configs.visual],
  ] as const) {
    if (config !== null) await writeJson(await place(run, name), config);
  }
  for (const name of tokenizer) {
    await copyInto(join(checkpoint_dir, TOKENIZER_DIR, name), await place(run, `${TOKENIZER_DIR}/${name}`));
  }
  const missing = step.outputs.filter(file => !run.written.files.includes(file));
  if (missing.length > 0) throw new Error(`${missing.join(", ")} was planned and not written`);
}

async function writeManifest(run: Run): Promise<void> {
  const { plan } = run;
  const manifest: EngineManifest = {
    kind: "engine",
    format: 1,
    version: plan.version,
    fingerprint: plan.fingerprint,
    backend: plan.backend,
    target: null,
    model: plan.model,
    parts: plan.engines.map(({ name, onnx, weights, engine, graph }) => ({
      name,
      onnx,
      weights,
      engine,
      fingerprint: fingerprintOf(plan, name),
      onnx_sha256: graph.onnx_sha256,
    })),
    steps: plan.steps.map(({ id, fingerprint }) => ({ id, fingerprint })),
    options: plan.options,
  };
  await writeJson(await place(run, ENGINE_MANIFEST), manifest);
}

async function sizesOf({ stage, written }: Run): Promise<{ written_bytes: number; linked_bytes: number }> {
  const own = written.files.filter(file => !written.linked.has(file));
  const sizes = await Promise.all(own.map(async file => (await stat(join(stage, file))).size));
  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((a, b) => a + b, 0);
  return { written_bytes: sum(sizes), linked_bytes: sum(written.linked.values()) };
}

/** Of the last step that makes a part. */
function fingerprintOf(plan: BuildPlan, name: string): string {
  const own = plan.steps.filter(step => step.kind !== "files" && step.id.endsWith(` ${name}`));
  return own.at(-1)?.fingerprint ?? "";
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

function refuseUnwired(plan: BuildPlan): void {
  if (plan.backend === "onnxruntime") return;
  fail({
    code: "BLD004",
    what: `backend ${plan.backend} cannot be built by this version`,
    at: "--backend",
    why: "its graphs can be planned (--plan) and are the ones ONNX Runtime runs, but no builder is wired to them yet",
    fix: "--backend onnxruntime",
  });
}
