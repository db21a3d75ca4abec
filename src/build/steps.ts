import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { TOKENIZER_DIR } from "../checkpoint/manifest.ts";
import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import { DECODER_CONFIG, ENCODER_CONFIG, LLM_CONFIG, LOGS_DIR, VISUAL_CONFIG } from "../formats/engine-dir.ts";
import type { EngineRequest } from "../toolchain/tensorrt/request.ts";
import { fingerprint } from "./fingerprint.ts";
import type { BuildPlan, EnginePlan, Step } from "./plan.ts";
import { shapingPart } from "./tensorrt.ts";

/** Bumped when a step writes other bytes for the same inputs. */
const STEP_VERSION = 1;

type StepInput = Pick<
  BuildPlan,
  "version" | "output_dir" | "builder" | "copy_weights" | "libraries" | "model" | "configs" | "tokenizer" | "adapters"
>;

/** What is to be done, in order, each with a fingerprint over all that its outputs depend on. */
export async function planSteps(
  checkpoint: ConvertedCheckpoint,
  engines: readonly EnginePlan[],
  plan: StepInput,
): Promise<readonly Step[]> {
  const steps: Step[] = [];
  const builds: Step[] = [];
  const linked = new Set<string>();
  const own = { step: STEP_VERSION, mmtrt: plan.version };
  for (const engine of engines) {
    const identity = { checkpoint: checkpoint.manifest.fingerprint, ...(await identityOf(engine.source)) };
    const link = fingerprint({ ...own, identity, copy: plan.copy_weights });
    const hashes = engine.tables?.hashes;
    const tables = hashes && fingerprint({ ...own, link, hashes });
    const emit = fingerprint({ ...own, link, onnx: engine.graph.onnx_sha256, tables });
    // A decoder's two graphs share one file of weights.
    if (!linked.has(engine.weights))
      steps.push({
        id: `weights ${engine.name}`,
        kind: "link",
        fingerprint: link,
        inputs: [engine.source],
        outputs: [engine.weights],
      });
    linked.add(engine.weights);
    if (engine.tables !== undefined && tables !== undefined)
      steps.push({
        id: `tables ${engine.name}`,
        kind: "tables",
        fingerprint: tables,
        inputs: [engine.tables.adapter],
        outputs: [engine.tables.file],
      });
    steps.push({
      id: `graph ${engine.name}`,
      kind: "emit",
      fingerprint: emit,
      inputs: filesOf(engine),
      outputs: [engine.onnx],
    });
    if (engine.request !== null) builds.push(await engineStep(engine, engine.request, plan, { ...own, emit }));
  }
  return [...steps, ...builds, ...adapterSteps(plan, own), await filesStep(checkpoint, plan, own)];
}

/** What a graph's initializers point into. */
function filesOf({ weights, tables }: EnginePlan): readonly string[] {
  return [weights, ...(tables === undefined ? [] : [tables.file])];
}

/** Adapters are copied: they are small, and a training run may write over its own directory. */
function adapterSteps({ configs, adapters }: StepInput, own: object): readonly Step[] {
  return (configs.llm?.lora?.adapters ?? []).map(({ dir, files }, i) => ({
    id: `adapter ${i}`,
    kind: "adapter",
    fingerprint: fingerprint({ ...own, files }),
    inputs: files.map(({ name }) => join(adapters[i] ?? "", name)),
    outputs: files.map(({ name }) => `${dir}/${name}`),
  }));
}

/** The command is the one that runs, with the directory's final name; while it runs the directory has another. */
async function engineStep(engine: EnginePlan, request: EngineRequest, plan: StepInput, own: object): Promise<Step> {
  // With its library for starting programs: nothing that an ONNX Runtime build should load.
  const { planEngineCommand } = await import("../toolchain/tensorrt/builders.ts");
  const found = plan.builder?.found;
  const { argv, input } = planEngineCommand(placedIn(plan.output_dir, request), found);
  const content = libraryHashes(request, plan.libraries);
  return {
    id: `engine ${engine.name}`,
    kind: "engine",
    fingerprint: fingerprint({
      ...own,
      request: shapingPart(request),
      version: found?.version ?? null,
      ...(content.length > 0 && { libraries: content }),
    }),
    inputs: [engine.onnx, ...filesOf(engine)],
    outputs: [request.engine, logOf(engine)],
    argv,
    ...(input !== undefined && { stdin: input }),
  };
}

/** Of the plugin libraries that an engine is built with: what they hold decides what it computes. */
function libraryHashes({ plugins = [] }: EngineRequest, libraries: BuildPlan["libraries"]): readonly string[] {
  const files = plugins.map(({ file }) => file);
  return libraries.filter(({ file }) => files.includes(resolve(file))).map(({ sha256 }) => sha256);
}

/** The request with its paths in `dir`. */
export function placedIn(dir: string, request: EngineRequest): EngineRequest {
  return { ...request, onnx: join(dir, request.onnx), engine: join(dir, request.engine) };
}

/** Everything the builder printed; `llm/rank0` → `logs/llm.rank0.log`. */
export function logOf({ name }: Pick<EnginePlan, "name">): string {
  return `${LOGS_DIR}/${name.replaceAll("/", ".")}.log`;
}

async function filesStep(checkpoint: ConvertedCheckpoint, plan: StepInput, own: object): Promise<Step> {
  const inputs = plan.tokenizer.map(name => join(checkpoint.dir, TOKENIZER_DIR, name));
  const identities = await Promise.all(inputs.map(identityOf));
  return {
    id: "config and tokenizer",
    kind: "files",
    fingerprint: fingerprint({ ...own, configs: plan.configs, model: plan.model, identities }),
    inputs,
    outputs: [...configFiles(plan).map(([name]) => name), ...plan.tokenizer.map(name => `${TOKENIZER_DIR}/${name}`)],
  };
}

/** The JSON files that describe the parts, by their path in the engine directory. */
export function configFiles({
  configs,
  model,
}: Pick<BuildPlan, "configs" | "model">): readonly (readonly [string, object])[] {
  const files = [
    [model.encoder_decoder === undefined ? LLM_CONFIG : DECODER_CONFIG, configs.llm],
    [VISUAL_CONFIG, configs.visual],
    [ENCODER_CONFIG, configs.encoder],
  ] as const;
  return files.flatMap(([name, config]) => (config === null ? [] : [[name, config] as const]));
}

/** Size and time of change stand for the bytes: hashing a 140 GB checkpoint at each build would cost minutes. */
async function identityOf(file: string): Promise<{ readonly size: number; readonly mtime_ms: number }> {
  const { size, mtimeMs } = await stat(file);
  return { size, mtime_ms: Math.round(mtimeMs) };
}
