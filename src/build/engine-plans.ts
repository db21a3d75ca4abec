import type { ConvertedCheckpoint, WeightFile } from "../checkpoint/read.ts";
import { encodeOnnx, type WeightLocation } from "../emit/onnx.ts";
import {
  type DecoderLimits,
  decoderProfiles,
  defaultRange,
  encoderProfiles,
  packedProfiles,
  visualProfiles,
} from "../emit/profiles.ts";
import type { EngineIo } from "../formats/engine-config.ts";
import type { LoraEngineConfig } from "../formats/lora/engine.ts";
import { type Dialect, withCodes } from "../graph/dialect.ts";
import type { Dim } from "../graph/dim.ts";
import type { Graph, Value } from "../graph/graph.ts";
import type { GraphOptions } from "../models/architecture.ts";
import { visualTokensOf } from "../models/parts/visual-tokens.ts";
import { contextPiece } from "../rules/paged-context.ts";
import type { BuildSettings } from "../rules/rule.ts";
import type { StoredTensor } from "../tensor/index.ts";
import { byteLength } from "../tensor/index.ts";
import type { EngineRequest } from "../toolchain/tensorrt/request.ts";
import { visualUnit } from "../vision/index.ts";
import { computeDtypeOf, loadedBytes } from "./compute-dtype.ts";
import { sha256 } from "./fingerprint.ts";
import { type AdapterTables, planTables } from "./lora-tables.ts";
import { packedLimits } from "./packed-limits.ts";
import type { EnginePlan, PlannedTables } from "./plan.ts";
import { pluginNodes } from "./plugins.ts";

/** What the engines are planned for, besides the checkpoint. */
export interface EngineTargets {
  readonly build: BuildSettings;
  readonly dialect: Dialect;
  /** Fused operations that become nodes. */
  readonly plugins: readonly string[];
  readonly version: string;
  /** Adapters that the decoder takes. */
  readonly lora?: LoraEngineConfig | null;
  /** Word tables that one of them brings. */
  readonly tables?: AdapterTables | undefined;
  /** The builder's request for an engine; null with ONNX Runtime. */
  request(part: RequestPart): EngineRequest | null;
}

type RequestPart = Pick<EnginePlan, "onnx" | "io" | "profiles"> & {
  readonly engine: string;
  readonly nodes: Readonly<Record<string, number>>;
};

/** The decoder of every rank. Rules must have passed: graphs of shapes that do not divide are not built. */
export function planLanguage(checkpoint: ConvertedCheckpoint, targets: EngineTargets): EnginePlan[] {
  const { build } = targets;
  return checkpoint.ranks.map((file, rank) => {
    const { lora } = targets;
    const options = {
      ...graphOptions(checkpoint, targets, rank),
      ...(lora && { lora: { modules: lora.modules, targets: lora.target_modules } }),
    };
    const graph = buildGraph(checkpoint, "llm", options);
    const profiles = decoderProfiles(graph, { ...limitsOf(checkpoint, build), ...loraLimits(targets) });
    const stem = `${checkpoint.spec.encoderDecoder === undefined ? "llm" : "decoder"}/rank${rank}`;
    const tables = targets.tables && planTables(checkpoint, targets.tables, rank, `${stem}.tables.safetensors`);
    const names = { name: stem, kind: "llm" as const, rank, stem, ...(tables && { tables }) };
    return enginePlan(names, graph, options, file, targets, profiles);
  });
}

/** The text encoder of every rank, where there is one, and what gives each decoder the encoder's keys and values. */
export function planEncoder(checkpoint: ConvertedCheckpoint, targets: EngineTargets): EnginePlan[] {
  if (checkpoint.spec.encoderDecoder === undefined) return [];
  const plan = (
    kind: "encoder" | "cross",
    stem: string,
    file: WeightFile,
    rank: number,
    weights = stem,
  ): EnginePlan => {
    const options = graphOptions(checkpoint, targets, rank);
    const graph = buildGraph(checkpoint, kind, options);
    const profiles = encoderProfiles(graph, limitsOf(checkpoint, targets.build));
    return enginePlan({ name: stem, kind, rank, stem, weights }, graph, options, file, targets, profiles);
  };
  return [
    ...(checkpoint.encoder?.ranks ?? []).map((file, rank) => plan("encoder", `encoder/rank${rank}`, file, rank)),
    ...checkpoint.ranks.map((file, rank) =>
      plan("cross", `decoder/cross_rank${rank}`, file, rank, `decoder/rank${rank}`),
    ),
  ];
}

function loraLimits({ lora }: EngineTargets): Pick<DecoderLimits, "lora"> {
  return lora ? { lora: { maxLoras: lora.max_loras, maxRank: lora.max_lora_rank } } : {};
}

/** The numbers that profiles are made of. A decoder of a pair has its prompt in the encoder, and starts with a token. */
function limitsOf({ spec }: ConvertedCheckpoint, build: BuildSettings): DecoderLimits {
  const isPair = spec.encoderDecoder !== undefined;
  const length = build.max_encoder_input_len;
  return {
    maxBatchSize: build.max_batch_size,
    maxBeamWidth: build.max_beam_width,
    maxInputLen: isPair ? Math.min(build.max_input_len, build.max_seq_len) : build.max_input_len,
    maxSeqLen: build.max_seq_len,
    promptRows: build.max_multimodal_len,
    optBatchSize: build.opt_batch_size,
    optInputLen: build.opt_input_len ?? (isPair ? 1 : undefined),
    optSeqLen: build.opt_seq_len,
    contextPiece: contextPiece(build),
    multipleProfiles: build.multiple_profiles,
    tokensPerBlock: build.kv_cache_type === "paged" ? build.tokens_per_block : undefined,
    // Always as many features of an image; from 1, because TensorRT would make a size of one value a fixed one.
    ...(isPair && { encoderSeq: defaultRange(length, spec.swin && length) }),
  };
}

/** The file a planned graph's weights are in; undefined when the checkpoint has none any more. */
export function weightsOf(checkpoint: ConvertedCheckpoint, { kind, rank }: EnginePlan): WeightFile | undefined {
  if (kind === "visual") return checkpoint.visual;
  return (kind === "encoder" ? checkpoint.encoder?.ranks : checkpoint.ranks)?.[rank];
}

/** The visual engine: one for all ranks. */
export function planVisual(checkpoint: ConvertedCheckpoint, targets: EngineTargets): EnginePlan[] {
  const { build } = targets;
  if (checkpoint.visual === undefined) return [];
  const options = graphOptions(checkpoint, targets, 0);
  const graph = buildGraph(checkpoint, "visual", options);
  const rule = visualTokensOf(checkpoint.spec);
  const inImages = rule === undefined || visualUnit(rule) === "images";
  const profiles =
    rule?.kind === "patches"
      ? packedProfiles(graph, { ...packedLimits(rule, build.max_visual_batch) })
      : visualProfiles(graph, build.max_visual_batch, inImages ? build.opt_batch_size : undefined);
  const names = { name: "visual", kind: "visual" as const, rank: 0, stem: "visual/model" };
  return [enginePlan(names, graph, options, checkpoint.visual, targets, profiles)];
}

/** The same graph for plan and run: everything it depends on is in the plan. */
export function buildGraph(checkpoint: ConvertedCheckpoint, kind: EnginePlan["kind"], options: GraphOptions): Graph {
  const { architecture, spec } = checkpoint;
  if (kind === "llm") return architecture.languageGraph(spec, options);
  const half = kind === "encoder" ? architecture.encoderGraph : kind === "cross" ? architecture.crossGraph : undefined;
  if (half !== undefined) return half(spec, options);
  if (architecture.visualGraph === undefined) throw new Error(`${spec.architecture} has visual weights and no graph`);
  return architecture.visualGraph(spec, options);
}

/** The weights file as external data: absolute offsets by tensor name. `tables` lie in a file of their own. */
export function locationsOf(
  tensors: ReadonlyMap<string, StoredTensor>,
  tables?: PlannedTables,
): ReadonlyMap<string, WeightLocation> {
  const located = new Map<string, WeightLocation>();
  for (const [name, { dtype, shape, range }] of tensors) {
    if (range !== undefined) located.set(name, { dtype, shape, offset: range.offset });
  }
  for (const { name, ...place } of tables?.locations ?? []) located.set(name, place);
  return located;
}

function graphOptions(
  checkpoint: ConvertedCheckpoint,
  { build, dialect, plugins }: EngineTargets,
  rank: number,
): GraphOptions {
  const { dtype } = checkpoint.manifest.options;
  const { parallelEmbedding, embeddingShardingDim } = checkpoint.parallel;
  return {
    weightDtype: dtype,
    computeDtype: computeDtypeOf(build, dtype),
    tpSize: checkpoint.parallel.tpSize,
    ppSize: checkpoint.parallel.ppSize,
    rank,
    kvCache: kvCacheOf(build),
    dialect: checkpoint.quantization ? withCodes(dialect) : dialect,
    promptTable: build.max_multimodal_len > 0,
    logitsDtype: build.logits_dtype,
    ...(checkpoint.parallel.shareEmbedding && { shareEmbedding: true }),
    ...(parallelEmbedding && { parallelEmbedding: embeddingShardingDim }),
    ...(checkpoint.quantization && { quantization: checkpoint.quantization }),
    ...(plugins.length > 0 && { plugins }),
  };
}

function kvCacheOf({ kv_cache_type, max_seq_len, tokens_per_block }: BuildSettings): GraphOptions["kvCache"] {
  if (kv_cache_type === "static") return { type: "static", capacity: max_seq_len };
  return kv_cache_type === "paged" ? { type: "paged", tokensPerBlock: tokens_per_block } : { type: "continuous" };
}

/** What a part is called; `weights` where its file is another part's. */
type PartNames = Pick<EnginePlan, "name" | "kind" | "rank" | "tables"> & {
  readonly stem: string;
  readonly weights?: string;
};

function enginePlan(
  { stem, weights: weightsStem = stem, ...names }: PartNames,
  graph: Graph,
  options: GraphOptions,
  { file, tensors }: WeightFile,
  { build, version, request }: EngineTargets,
  profiles: EnginePlan["profiles"],
): EnginePlan {
  const weights = `${weightsStem}.safetensors`;
  const location = weights.slice(weights.indexOf("/") + 1);
  const onnx = encodeOnnx(graph, { location, tensors: locationsOf(tensors, names.tables), producerVersion: version });
  const io = ioOf(graph);
  const nodes = pluginNodes(graph);
  const used = graph.initializers.flatMap(({ value, bytes }) =>
    bytes === undefined ? (tensors.get(value.name) ?? []) : [],
  );
  const files = { onnx: `${stem}.onnx`, engine: `${stem}.engine` };
  return {
    ...names,
    options,
    onnx: files.onnx,
    weights,
    engine: build.backend === "onnxruntime" ? null : files.engine,
    source: file,
    graph: {
      opset: graph.opset,
      nodes: graph.nodes.length,
      initializers: graph.initializers.length,
      functions: graph.functions.map(fn => `${fn.domain}::${fn.name}`),
      plugins: nodes,
      onnx_bytes: onnx.byteLength,
      onnx_sha256: sha256(onnx),
      used_bytes: used.reduce((total, { dtype, shape }) => total + byteLength(dtype, shape), 0),
      computed_bytes: loadedBytes(used, options.computeDtype),
      weight_bytes: [...tensors.values()].reduce((total, { dtype, shape }) => total + byteLength(dtype, shape), 0),
    },
    io,
    profiles,
    request: request({ ...files, io, profiles, nodes }),
  };
}

function ioOf(graph: Graph): EngineIo[] {
  const describe = (value: Value, kind: EngineIo["kind"]): EngineIo => ({
    name: value.name,
    kind,
    dtype: value.dtype,
    shape: value.shape.map((dim: Dim) => (typeof dim === "number" ? dim : -1)),
    dims: value.shape,
  });
  return [
    ...graph.inputs.map(value => describe(value, "input")),
    ...graph.outputs.map(value => describe(value, "output")),
  ];
}
