import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { TOKENIZER_DIR } from "../checkpoint/manifest.ts";
import { type ConvertedCheckpoint, openCheckpoint } from "../checkpoint/read.ts";
import type { Problem } from "../diagnostics/index.ts";
import type { BuildOptions } from "../options/tables/build.ts";
import { checkRules } from "../rules/index.ts";
import type { CheckpointFacts } from "../rules/rule.ts";
import { computeDtypeOf } from "./compute-dtype.ts";
import { engineModel, llmConfig, visualConfig } from "./configs.ts";
import type { EngineTargets } from "./engine-plans.ts";
import type { BuilderAtHand } from "./find-builder.ts";
import type { Gpu } from "./gpus.ts";
import { loraSettings, planLora, withAdapters } from "./lora.ts";
import { tableNotes } from "./lora-tables.ts";
import { memoryAccount } from "./memory/account.ts";
import { MEMORY_CODES } from "./memory/limits.ts";
import { memoryInputOf, planBuilders, runProblems } from "./memory/of-plan.ts";
import { processMemory } from "./memory/process.ts";
import type { BuildPlan, EnginePlan, Step } from "./plan.ts";
import { choosePlugins, readPluginLibraries, reducesByPlugin, updatesInPlace, usesLibrary } from "./plugins.ts";
import { resolveSettings } from "./settings.ts";
import type { planSteps } from "./steps.ts";
import {
  dialectFor,
  engineRequest,
  noteParser,
  parserOf,
  takesOrtOperators,
  targetFacts,
  tensorrtSettings,
  toolProblems,
} from "./tensorrt.ts";
import { trtllmProfiles } from "./trtllm.ts";

/** What a plan needs besides options: where they come from, and who plans. */
export interface PlanEnvironment {
  /** Version of mmtrt, kept in every file written. */
  readonly version: string;
  /** Where the user wrote an option, for `Problem.at`. */
  origin(key: string): string;
  given(key: string): boolean;
  /** Who builds, from findBuilder; null or absent where nobody was found, or is needed. */
  readonly builder?: BuilderAtHand | null;
  /** Words after `--`. */
  readonly trtexecFlags?: readonly string[];
  /** Engines are planned, and no steps that would build them: the checkpoint's files need not exist. */
  readonly shapesAlone?: boolean;
}

/**
 * Reads config and headers of the checkpoint, no tensor bytes, and writes nothing. Broken rules are in `problems`, with
 * the memory account still made; a checkpoint that cannot be opened throws. Errors: BLD008, CKP…, SPC….
 */
export async function planBuild(options: BuildOptions, environment: PlanEnvironment): Promise<BuildPlan> {
  const gpu = await gpuOf(options, environment);
  const checkpoint = await openCheckpoint(options.checkpoint_dir);
  try {
    return deepFreeze(await planFrom(checkpoint, options, environment, gpu));
  } finally {
    await checkpoint.close();
  }
}

/** The same of an open checkpoint without the steps that would build it: its files, and both directories, are not looked at. */
export async function planShapes(
  checkpoint: ConvertedCheckpoint,
  options: BuildOptions,
  environment: PlanEnvironment,
): Promise<BuildPlan> {
  const gpu = await gpuOf(options, environment);
  return deepFreeze(await planFrom(checkpoint, options, { ...environment, shapesAlone: true }, gpu));
}

async function gpuOf({ gpu }: BuildOptions, { origin }: PlanEnvironment): Promise<Gpu | null> {
  return gpu === undefined ? null : gpuCalled(gpu, origin("gpu"));
}

/** Most builds name no GPU, so its YAML parser is loaded here (a file of ours: a bundled CommonJS package has no named exports). */
async function gpuCalled(name: string, at: string): Promise<Gpu> {
  return (await import("./gpus.ts")).findGpu(name, at);
}

async function planFrom(
  checkpoint: ConvertedCheckpoint,
  options: BuildOptions,
  { version, origin, given, builder = null, trtexecFlags = [], shapesAlone = false }: PlanEnvironment,
  gpu: Gpu | null,
): Promise<BuildPlan> {
  const { spec } = checkpoint;
  const devices = options.backend === "tensorrt" ? builder?.gpus?.length : undefined;
  const addsInput = origin("max_seq_len").startsWith("--max_output_len");
  const engineCount = countEngines(checkpoint, options);
  const settings = resolveSettings({ options, spec, engines: engineCount, devices, given, addsInput });
  const { build } = settings;
  const libraries = await readPluginLibraries(options.plugins ?? []);
  const computeDtype = computeDtypeOf(build, checkpoint.manifest.options.dtype);
  const { tpSize } = checkpoint.parallel;
  const reduces = reducesByPlugin(build, tpSize, libraries);
  const target = targetFacts(options, builder, computeDtype, trtexecFlags, reduces);
  const found = checkRules({ spec, checkpoint: factsOf(checkpoint), build, target, origin, given });
  const { lora, problems: loraProblems } = await planLora(checkpoint, options, { origin, given });
  const memoryInput = { ...memoryInputOf(checkpoint, build), lora: lora?.config };
  const memory = memoryAccount(memoryInput);
  const problems = [
    ...found.problems,
    ...loraProblems,
    ...toolProblems(options, builder, trtexecFlags),
    ...onlyProblems(options, checkpoint, origin),
    ...runProblems(memory, memoryInput, options, gpu, origin),
  ];

  const canBuild = problems.every(problem => MEMORY_CODES.has(problem.code));
  const standard = dialectFor(parserOf(options, builder), build.kv_cache_type === "static");
  // A library of kernels is for a GPU, where ONNX Runtime's own operators have no float32.
  const ownOperators = libraries.length === 0 && takesOrtOperators(build, computeDtype, checkpoint.ranks.length);
  const dialect = ownOperators ? { ...standard, ortOperators: true } : standard;
  const plugins = choosePlugins(build, {
    computeDtype,
    headDim: spec.language.headDim,
    tpSize,
    maxLoraRank: lora?.config.max_lora_rank,
    libraries,
  });
  const targets: EngineTargets = {
    build,
    dialect,
    plugins: plugins.ops,
    version,
    lora: lora?.config ?? null,
    tables: lora?.tables,
    request: ({ nodes, ...part }) => {
      if (options.backend === "onnxruntime") return null;
      const unused = libraries.filter(library => !usesLibrary(library, nodes)).map(({ file }) => file);
      const used = options.plugins?.filter(file => !unused.includes(file));
      const made = engineRequest(part, { ...options, plugins: used }, options.backend, trtexecFlags);
      const inPlace = made.plugins !== undefined && updatesInPlace(build, nodes);
      return inPlace ? { ...made, aliasedPluginIo: true } : made;
    },
  };
  const { pair, llm, visual } = canBuild ? await planEngines(checkpoint, targets, options.only) : NO_ENGINES;
  const engines = [...pair, ...llm, ...visual];
  const run = { input: memoryInput, account: memory };
  const builders = planBuilders(engines, checkpoint, run, options, settings.workers, origin);
  const shared = {
    version,
    backend: options.backend,
    builder,
    output_dir: shapesAlone ? "" : resolve(options.output_dir),
    copy_weights: options.copy_weights,
    libraries,
    model: engineModel(spec),
    configs: {
      llm: withAdapters(
        llmConfig(checkpoint, settings, options, [...llm, ...pair.filter(({ kind }) => kind === "cross")], version),
        lora,
        options,
      ),
      encoder: llmConfig(
        checkpoint,
        settings,
        options,
        pair.filter(({ kind }) => kind === "encoder"),
        version,
        checkpoint.encoder?.config,
      ),
      visual: visualConfig(checkpoint, settings, visual[0], version),
    },
    adapters: lora?.sources ?? [],
    tokenizer: shapesAlone ? [] : await filesIn(join(checkpoint.dir, TOKENIZER_DIR)),
  };
  const { steps, fingerprint } = canBuild && !shapesAlone ? await stepsOf(checkpoint, engines, shared) : NO_STEPS;
  return {
    ...shared,
    checkpoint_dir: shapesAlone ? checkpoint.dir : resolve(options.checkpoint_dir),
    fingerprint,
    force: options.force,
    workers: builders.memory.workers,
    options: {
      ...build,
      ...tensorrtSettings(options),
      copy_weights: options.copy_weights,
      only: options.only,
      ...loraSettings(lora, options),
    },
    engines,
    steps,
    memory,
    process_memory: options.backend === "onnxruntime" ? processMemory(checkpoint, memoryInput, memory) : null,
    build_memory: builders.memory,
    gpu,
    trtllm_profiles: options.strict_profiles ? trtllmProfiles(checkpoint, settings, lora?.config.target_modules) : null,
    adjustments: [
      ...settings.adjustments,
      ...builders.adjustments,
      ...plugins.adjustments,
      ...tableNotes(lora?.tables),
      ...noteParser(options, builder, dialect),
    ],
    warnings: found.warnings,
    problems: [...problems, ...builders.problems],
  };
}

const NO_ENGINES = { pair: [], llm: [], visual: [] } as const;
const NO_STEPS = { steps: [], fingerprint: "" } as const;

/** Graphs are encoded with protobufjs, which takes longer to load than the rules to check: a refused plan goes without. */
async function planEngines(
  checkpoint: ConvertedCheckpoint,
  targets: EngineTargets,
  only: BuildOptions["only"],
): Promise<Readonly<Record<"pair" | "llm" | "visual", readonly EnginePlan[]>>> {
  const { planEncoder, planLanguage, planVisual } = await import("./engine-plans.ts");
  return {
    pair: only === "visual" ? [] : planEncoder(checkpoint, targets),
    llm: only === "visual" ? [] : planLanguage(checkpoint, targets),
    visual: only === "llm" ? [] : planVisual(checkpoint, targets),
  };
}

async function stepsOf(
  ...planned: Parameters<typeof planSteps>
): Promise<{ readonly steps: readonly Step[]; readonly fingerprint: string }> {
  const [{ planSteps }, { fingerprint }] = await Promise.all([import("./steps.ts"), import("./fingerprint.ts")]);
  const steps = await planSteps(...planned);
  return { steps, fingerprint: fingerprint(steps.map(step => step.fingerprint)) };
}

function countEngines({ ranks, visual, encoder, spec }: ConvertedCheckpoint, { only }: BuildOptions): number {
  const graphs = ranks.length * (spec.encoderDecoder ? 2 : 1) + (encoder?.ranks.length ?? 0);
  return Math.max(1, (only === "visual" ? 0 : graphs) + (only === "llm" || visual === undefined ? 0 : 1));
}

function factsOf({ dir, config, parallel, ranks, manifest, quantization }: ConvertedCheckpoint): CheckpointFacts {
  const word = (value: unknown): string | null => (typeof value === "string" ? value : null);
  return {
    dir,
    dtype: manifest.options.dtype,
    tpSize: parallel.tpSize,
    ppSize: parallel.ppSize,
    worldSize: config.mapping?.world_size ?? parallel.tpSize * parallel.ppSize,
    ranks: ranks.length,
    quantAlgo: word(config.quantization?.quant_algo),
    kvCacheQuantAlgo: word(config.quantization?.kv_cache_quant_algo),
    weightLayout: quantization?.weightLayout ?? "plain",
    useParallelEmbedding: parallel.parallelEmbedding,
    embeddingShardingDim: parallel.embeddingShardingDim,
    shareEmbeddingTable: parallel.shareEmbedding,
  };
}

function onlyProblems(
  { only }: BuildOptions,
  { visual, dir }: ConvertedCheckpoint,
  origin: (key: string) => string,
): readonly Problem[] {
  if (only !== "visual" || visual !== undefined) return [];
  return [
    {
      code: "BLD029",
      what: `only visual is asked for and ${dir} has no visual part`,
      at: origin("only"),
      why: "a model that takes text alone has one engine per rank and no image encoder",
      fix: "--only llm, or leave it out",
    },
  ];
}

/** File names in `dir`, sorted; none when there is no such directory (a model without tokenizer files). */
async function filesIn(dir: string): Promise<readonly string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => []);
  return entries
    .filter(entry => entry.isFile())
    .map(entry => entry.name)
    .sort();
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const item of Object.values(value)) deepFreeze(item);
  return Object.freeze(value);
}
