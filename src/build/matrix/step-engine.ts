import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { openCheckpoint } from "../../checkpoint/read.ts";
import type { EngineReport } from "../../toolchain/tensorrt/request.ts";
import type { Stage } from "../cache/store.ts";
import { placeFile } from "../link.ts";
import { writeTables } from "../lora-tables.ts";
import type { BuildPlan, EnginePlan } from "../plan.ts";
import { buildEngines } from "../run-engines.ts";
import { writeGraph } from "../run-plan.ts";
import type { StepContext } from "./context.ts";

/** Names in the entries of these steps. */
export const GRAPH_FILE = "model.onnx";
export const ENGINE_FILE = "model.engine";
export const LOG_FILE = "build.log";

/** One part's graph into the stage. */
export async function runGraph(plan: BuildPlan, name: string, stage: Stage): Promise<void> {
  const checkpoint = await openCheckpoint(plan.checkpoint_dir);
  try {
    await writeGraph(checkpoint, partOf(plan, name), plan.version, join(stage.files, GRAPH_FILE));
  } finally {
    await checkpoint.close();
  }
}

export interface EnginePlace {
  /** Those that it may use, by their numbers among the visible ones. */
  readonly gpus: readonly number[];
  /** The shared timing cache, where kernels are timed. */
  readonly timing: string | undefined;
}

/** One engine into the stage, from a graph of the cache beside a link to the weights that it points into. */
export async function runEngine(
  plan: BuildPlan,
  name: string,
  graph: string,
  stage: Stage,
  { gpus, timing }: EnginePlace,
  context: StepContext,
): Promise<EngineReport> {
  const part = partOf(plan, name);
  const { request } = part;
  if (request === null) throw new Error(`${name} has no engine to build`);
  const work = join(stage.dir, "work");
  const { signal } = context;
  await mkdir(dirname(join(work, part.onnx)), { recursive: true });
  await link(graph, join(work, part.onnx), signal);
  await link(part.source, join(work, part.weights), signal);
  if (part.tables !== undefined) await tablesInto(plan, part, join(work, part.tables.file), signal);
  const step = plan.steps.find(({ id }) => id === `engine ${name}`);
  if (step === undefined) throw new Error(`the plan has no step for ${name}`);
  const log = join(stage.files, LOG_FILE);
  const times = join(work, "timing.cache");
  const { timingCache: _, ...rest } = request;
  if (timing !== undefined) await context.timing.take(timing, times);
  const events = buildEngines({
    jobs: [{ step, engine: part, request: timing === undefined ? rest : { ...rest, timingCache: times }, log }],
    workers: 1,
    stage: work,
    builder: plan.builder,
    env: visible(context, gpus),
    signal,
  });
  const reports = await reportsOf(events, context);
  const report = reports.get(name);
  if (report === undefined) throw new Error(`${name} was not built`);
  if (timing !== undefined) await context.timing.give(timing, times);
  await rename(join(work, request.engine), join(stage.files, ENGINE_FILE));
  await rm(work, { recursive: true });
  // Paths of the stage mean nothing later.
  return { ...report, file: ENGINE_FILE, logFile: LOG_FILE, argv: [] };
}

/** Small beside the engine, and written anew: the cache keeps graphs and engines. */
async function tablesInto(plan: BuildPlan, part: EnginePlan, file: string, signal: AbortSignal): Promise<void> {
  const checkpoint = await openCheckpoint(plan.checkpoint_dir);
  try {
    await writeTables(checkpoint, part, file, signal);
  } finally {
    await checkpoint.close();
  }
}

function partOf(plan: BuildPlan, name: string): EnginePlan {
  const part = plan.engines.find(engine => engine.name === name);
  if (part === undefined) throw new Error(`the plan has no part ${name}`);
  return part;
}

async function reportsOf(
  events: ReturnType<typeof buildEngines>,
  context: StepContext,
): Promise<ReadonlyMap<string, EngineReport>> {
  for (;;) {
    const next = await events.next();
    if (next.done) return next.value;
    if (next.value.event === "progress") context.progress(next.value);
  }
}

async function link(source: string, target: string, signal: AbortSignal): Promise<void> {
  const placing = placeFile(source, target, { copy: false, label: target, signal });
  while (!(await placing.next()).done);
}

/** A step that needs a GPU gets one for itself. */
function visible({ env }: StepContext, gpus: readonly number[]): StepContext["env"] {
  if (gpus.length === 0) return env;
  const all = env.CUDA_VISIBLE_DEVICES?.split(",");
  return { ...env, CUDA_VISIBLE_DEVICES: gpus.map(gpu => all?.[gpu] ?? String(gpu)).join(",") };
}
