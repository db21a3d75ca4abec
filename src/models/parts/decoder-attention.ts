import type { Value } from "../../graph/graph.ts";
import type { GraphBuilder } from "../../graph/ops.ts";
import type { Spans } from "../../layers/attention.ts";
import { formOfCodes, kvScaleName, plainForm } from "../../layers/cache-form.ts";
import { GPT_ATTENTION, hasAttentionKernel, pluginSelfAttention } from "../../layers/fused/gpt-attention.ts";
import { continuousCache, type KvCache, staticCache } from "../../layers/kv-cache.ts";
import { hasOrtAttention, type OrtAttention, ortSelfAttention } from "../../layers/ort-attention.ts";
import { pagedCache } from "../../layers/paged-cache.ts";
import { axesOfPairs, type RopeTables, ropeTables } from "../../layers/rope.ts";
import { type RopeFrequencies, ropeFrequencies } from "../../layers/rope-scaling.ts";
import { type HeadSizes, type SelfAttention, standardSelfAttention } from "../../layers/self-attention.ts";
import type { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions } from "../architecture.ts";
import type { DecoderSpec, LayerKind } from "../spec.ts";

/**
 * Attention of a rank's layers over the cache that the options ask for. One node a layer where GptAttention computes the
 * model: its kernels have no soft-cap, no spans that see each other both ways, and all nodes of a graph share one body, so that layers
 * with other windows than their neighbours keep the standard form, in all layers.
 */
export function decoderAttention(
  g: GraphBuilder,
  w: WeightSource,
  spec: DecoderSpec,
  sizes: HeadSizes,
  options: GraphOptions,
  positionIds: Value,
): SelfAttention {
  const { kvCache, computeDtype, quantization } = options;
  const kinds = kindsOf(spec, options);
  const windows = [...new Set(kinds.map(({ window }) => window))];
  const block = kvCache.type === "paged" ? kvCache.tokensPerBlock : undefined;
  const asNodes =
    g.plugins.has(GPT_ATTENTION.name) &&
    hasAttentionKernel(computeDtype, spec.headDim, block) &&
    windows.length === 1 &&
    spec.scoreCap === undefined &&
    spec.visualSpans === undefined;
  const scale = 1 / Math.sqrt(spec.queryPreAttnScalar ?? spec.headDim);
  const ort = ortAttentionOf(spec, options, kinds);
  if (ort !== undefined) return ortSelfAttention(g, positionIds, { ...sizes, ...ort, scale });
  const spans = spansOf(g, spec, options);
  const tables = tablesOf(g, spec, options, positionIds, kinds, asNodes);
  const algo = quantization?.kvCacheQuantAlgo ?? null;
  const cacheOn = (b: GraphBuilder, like: Value, scale: (layer: number) => Value): KvCache => {
    const form = algo === null ? plainForm(computeDtype) : formOfCodes(b, algo, scale);
    if (kvCache.type === "static") return staticCache(b, form, like, kvCache.capacity, windows, spans);
    if (kvCache.type === "paged") return pagedCache(b, form, like, kvCache.tokensPerBlock, windows, spans);
    return continuousCache(b, form, like, windows, spans);
  };
  const rope = (layer: number): RopeTables | undefined => tables.get(kindAt(kinds, layer).rope);
  if (asNodes) {
    const kvScale = algo !== null && { kvScale: (layer: number) => g.weight(kvScaleName(layer), "float32", [1]) };
    const [window] = windows;
    return pluginSelfAttention(g, { ...sizes, scale, rope, window, cacheType: kvCache.type, ...kvScale, cacheOn });
  }
  const window = (layer: number): number | undefined => kindAt(kinds, layer).window;
  const cacheScale = (layer: number): Value => w.float32(g, kvScaleName(layer), [1]);
  const ofOneAxis = spec.mrope === undefined ? positionIds : g.gather(positionIds, g.int32(0));
  const scoring = { scale, cap: spec.scoreCap, rope, window };
  return standardSelfAttention(g, sizes, scoring, cacheOn(g, ofOneAxis, cacheScale));
}

/**
 * ONNX Runtime's own attention, where it computes the model: a static cache of floats, every layer over all that came before,
 * positions that are counted one by one.
 */
function ortAttentionOf(
  spec: DecoderSpec,
  { kvCache, dialect, computeDtype, quantization }: GraphOptions,
  kinds: readonly LayerKind[],
): Pick<OrtAttention, "capacity" | "rope"> | undefined {
  if (dialect.ortOperators !== true || kvCache.type !== "static" || computeDtype !== "float32") return undefined;
  const codes = quantization?.kvCacheQuantAlgo ?? null;
  const others = codes !== null || spec.scoreCap !== undefined || spec.visualSpans !== undefined;
  if (others || spec.mrope !== undefined || kinds.some(({ window }) => window !== undefined)) return undefined;
  const rope = (layer: number): RopeFrequencies | undefined => {
    const { rope: kind } = kindAt(kinds, layer);
    return kind === "none" ? undefined : frequenciesOf(spec, kind);
  };
  const ropes = kinds.flatMap((_, layer) => rope(layer) ?? []);
  return hasOrtAttention(spec.headDim, kvCache.capacity, ropes) ? { capacity: kvCache.capacity, rope } : undefined;
}

/** Without a prompt table there are no images, and no spans but of prompts. */
function spansOf(g: GraphBuilder, { visualSpans }: DecoderSpec, { promptTable }: GraphOptions): Spans | undefined {
  if (visualSpans === undefined || (visualSpans === "image" && !promptTable)) return undefined;
  return { left: g.input("visual_spans", "int32", ["batch", "seq"]), endless: visualSpans === "prompt" };
}

/** Of this rank's layers; learned positions are added to the embeddings and rotate nothing. */
function kindsOf(spec: DecoderSpec, { tpSize, ppSize, rank }: GraphOptions): readonly LayerKind[] {
  const layers = spec.layers / ppSize;
  const first = layers * Math.floor(rank / tpSize);
  const usual: LayerKind = {
    rope: spec.positions === "rope" ? "global" : "none",
    ...(spec.slidingWindow !== undefined && { window: spec.slidingWindow }),
  };
  return spec.layerKinds?.slice(first, first + layers) ?? Array<LayerKind>(layers).fill(usual);
}

function kindAt(kinds: readonly LayerKind[], layer: number): LayerKind {
  const kind = kinds[layer];
  if (kind === undefined) throw new Error(`layer ${layer} of ${kinds.length}`);
  return kind;
}

/**
 * cos and sin of each way of counting that a layer has. Nodes that share a body all have tables, or none: beside layers
 * with positions one without gets angles of zero.
 */
function tablesOf(
  g: GraphBuilder,
  spec: DecoderSpec,
  { computeDtype }: GraphOptions,
  positionIds: Value,
  kinds: readonly LayerKind[],
  asNodes: boolean,
): ReadonlyMap<LayerKind["rope"], RopeTables> {
  const ropes = new Set(kinds.map(({ rope }) => rope));
  const wanted = [...ropes].filter(rope => rope !== "none" || (asNodes && ropes.size > 1));
  const axes = spec.mrope && axesOfPairs(spec.mrope, (spec.rotaryDim ?? spec.headDim) / 2);
  return new Map(wanted.map(rope => [rope, ropeTables(g, positionIds, frequenciesOf(spec, rope), computeDtype, axes)]));
}

function frequenciesOf(spec: DecoderSpec, rope: LayerKind["rope"]): RopeFrequencies {
  const { ropeTheta, localRopeTheta = ropeTheta, ropeScaling, maxPositions } = spec;
  const rotated = spec.rotaryDim ?? spec.headDim;
  if (rope === "none") return { frequencies: new Float32Array(rotated / 2), attentionFactor: 1 };
  if (rope === "local") return ropeFrequencies(rotated, localRopeTheta, maxPositions);
  return ropeFrequencies(rotated, ropeTheta, maxPositions, ropeScaling);
}
