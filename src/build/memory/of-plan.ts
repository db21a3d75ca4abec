import type { ConvertedCheckpoint } from "../../checkpoint/read.ts";
import type { Problem } from "../../diagnostics/index.ts";
import type { BuildOptions } from "../../options/tables/build.ts";
import { sizeBytes } from "../../options/value.ts";
import { contextPiece } from "../../rules/paged-context.ts";
import { type BuildSettings, showBytes } from "../../rules/rule.ts";
import { byteLength, type Dtype, isFloatDtype, type QuantSpec } from "../../tensor/index.ts";
import { computeDtypeOf, loadedBytes } from "../compute-dtype.ts";
import type { Gpu } from "../gpus.ts";
import type { EnginePlan } from "../plan.ts";
import type { Adjustment } from "../settings.ts";
import { mostAtOnce } from "../side-by-side.ts";
import { type BuildMemory, builderMemory } from "./builder.ts";
import { builderFits, fitsGpu, fitsLimit } from "./limits.ts";
import type { MemoryAccount, MemoryInput } from "./types.ts";

/** Element types of quantized caches. */
const CACHE_DTYPES: Readonly<Record<string, Dtype>> = { INT8: "int8", FP8: "float8_e4m3fn" };
/** What TensorRT-RTX states for the smallest engines there are. */
const CONTEXT = 8 * 1024 ** 2;

export function memoryInputOf(checkpoint: ConvertedCheckpoint, build: BuildSettings): MemoryInput {
  const { spec, parallel, ranks, visual, quantization } = checkpoint;
  const dtype = computeDtypeOf(build, checkpoint.manifest.options.dtype);
  const isTensorrt = build.backend !== "onnxruntime";
  return {
    language: spec.language,
    encoder: spec.encoderDecoder?.encoder,
    vision: spec.vision,
    swin: spec.swin,
    packedVision: spec.packedVision,
    tpSize: parallel.tpSize,
    ppSize: parallel.ppSize,
    maxBatchSize: build.max_batch_size,
    maxBeamWidth: build.max_beam_width,
    maxInputLen: build.max_input_len,
    maxSeqLen: build.max_seq_len,
    contextPiece: contextPiece(build),
    promptRows: build.max_multimodal_len,
    ...(build.max_visual_batch !== build.max_batch_size && { visualBatch: build.max_visual_batch }),
    computeDtype: dtype,
    kvDtype: CACHE_DTYPES[quantization?.kvCacheQuantAlgo ?? "none"] ?? dtype,
    cacheType: build.kv_cache_type,
    tokensPerBlock: build.tokens_per_block,
    // A rank's encoder lies beside its decoder.
    rankWeights: ranks.map(
      (rank, i) =>
        loadedBytes(rank.tensors.values(), dtype) +
        loadedBytes(checkpoint.encoder?.ranks[i]?.tensors.values() ?? [], dtype),
    ),
    expandedWeights: ranks.map(({ tensors }) =>
      isTensorrt && isExpanded(quantization, build) ? codeBytes(tensors.values(), dtype) : 0,
    ),
    encoderLen: build.max_encoder_input_len,
    visualWeights: visual === undefined ? 0 : loadedBytes(visual.tensors.values(), dtype),
    scoresInMemory: !isTensorrt,
    contextBytes: isTensorrt ? CONTEXT : 0,
  };
}

/** Seen in engines of TensorRT-RTX 1.7. Codes in groups are multiplied as they are, INT8 where a step has several rows. */
function isExpanded(quant: QuantSpec | undefined, build: BuildSettings): boolean {
  const rows = build.max_batch_size * build.max_beam_width;
  return quant?.quantAlgo === "W4A16" || (quant?.quantAlgo === "W8A16" && rows === 1);
}

function codeBytes(
  tensors: Iterable<{ readonly dtype: Dtype; readonly shape: readonly number[] }>,
  dtype: Dtype,
): number {
  let total = 0;
  for (const tensor of tensors)
    if (tensor.dtype === "int4" || tensor.dtype === "int8") total += byteLength(dtype, tensor.shape);
  return total;
}

type Origin = (key: string) => string;

/** Why the engines cannot run where they are meant to: BLD009 for the GPU, BLD080 for what the user allows. */
export function runProblems(
  account: MemoryAccount,
  input: MemoryInput,
  { max_gpu_memory }: Pick<BuildOptions, "max_gpu_memory">,
  gpu: Gpu | null,
  origin: Origin,
): readonly Problem[] {
  const limit = max_gpu_memory === undefined ? undefined : sizeBytes(max_gpu_memory);
  return [
    gpu === null ? undefined : fitsGpu(account, input, gpu, origin("gpu")),
    limit === undefined ? undefined : fitsLimit(account, input, limit, origin("max_gpu_memory")),
  ].filter(problem => problem !== undefined);
}

export interface PlannedBuild {
  readonly memory: BuildMemory;
  readonly problems: readonly Problem[];
  readonly adjustments: readonly Adjustment[];
}

/** What builders take, how many of them fit together, and BLD081 where not even one does. */
export function planBuilders(
  engines: readonly EnginePlan[],
  checkpoint: ConvertedCheckpoint,
  run: { readonly input: MemoryInput; readonly account: MemoryAccount },
  options: Pick<BuildOptions, "backend" | "max_build_memory" | "workspace">,
  workers: number,
  origin: Origin,
): PlannedBuild {
  const builders = engines
    .filter(({ request }) => request !== null)
    .map(engine => {
      const timing = options.backend === "tensorrt" ? timingOf(engine, run.account, options) : null;
      return builderMemory(engine, repackedBytes(engine, checkpoint, run.input), timing);
    });
  const limit = options.max_build_memory === undefined ? null : (sizeBytes(options.max_build_memory) ?? null);
  const costs = builders.map(({ host }) => host);
  const peak = Math.max(0, ...costs);
  const fitting = limit === null ? workers : mostAtOnce(costs, { workers, budget: limit });
  const memory = { builders, peak, workers: fitting, limit };
  if (limit === null || builders.length === 0) return { memory, problems: [], adjustments: [] };
  const { language, tpSize } = run.input;
  const problem = builderFits(memory, { heads: language.heads, tpSize }, limit, origin("max_build_memory"));
  const why = `max_build_memory ${showBytes(limit)} holds ${fitting === 1 ? "one builder" : `${fitting} builders`} at a time, the largest of ${showBytes(peak)}`;
  const fewer: readonly Adjustment[] =
    fitting < workers ? [{ option: "workers", from: workers, to: fitting, why }] : [];
  return { memory, problems: problem ? [problem] : [], adjustments: problem ? [] : fewer };
}

/** A step of one token: a vector times each matrix. */
function isSingleRow({ maxBatchSize, maxBeamWidth }: MemoryInput): boolean {
  return maxBatchSize * maxBeamWidth === 1;
}

/** Products of a normed input in models of LLaMA's kind; seen with float weights, and not with codes or with LayerNorm. */
const NORMED = /\.(attention\.qkv|mlp\.(fc|gate))\.weight$/;

function repackedBytes({ kind, rank }: EnginePlan, checkpoint: ConvertedCheckpoint, input: MemoryInput): number {
  const { mlp, norm } = input.language;
  if (kind !== "llm" || mlp !== "gated" || norm !== "rms" || !isSingleRow(input)) return 0;
  const tensors = [...(checkpoint.ranks[rank]?.tensors.values() ?? [])];
  const normed = tensors.filter(({ name, dtype }) => isFloatDtype(dtype) && NORMED.test(name));
  return loadedBytes(normed, input.computeDtype);
}

/** Kernels are tried at the sizes that they will run with. */
function timingOf(
  { kind, rank }: EnginePlan,
  { ranks }: MemoryAccount,
  { workspace }: Pick<BuildOptions, "workspace">,
): { readonly activations: number; readonly workspace: number | undefined } {
  const what = {
    llm: "activations",
    cross: "activations",
    encoder: "encoder_activations",
    visual: "visual_activations",
  }[kind];
  const item = ranks[rank]?.items.find(({ what: name }) => name === what);
  return { activations: item?.bytes ?? 0, workspace: workspace === undefined ? undefined : workspace * 1024 ** 2 };
}
