import type { Graph, Value } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import { attention, mergeHeads, splitHeads } from "../../layers/attention.ts";
import { plainForm } from "../../layers/cache-form.ts";
import { allGather, type TpGroup, tpGroup } from "../../layers/collective.ts";
import { promptTuningEmbedding } from "../../layers/embedding.ts";
import { bertAttention, encoderPlugins, isBertNode } from "../../layers/fused/bert-attention.ts";
import { continuousCache, distanceOf, type KvCache, staticCache } from "../../layers/kv-cache.ts";
import { linear, linearRows, rowParallelLinear } from "../../layers/linear.ts";
import { gatedMlp, plainMlp } from "../../layers/mlp.ts";
import { layerNorm, rmsNorm } from "../../layers/norm.ts";
import { maskedBias, paddingMask, relativeBias } from "../../layers/relative-bias.ts";
import { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions } from "../architecture.ts";
import type { DecoderSpec, EncoderDecoderSpec, ModelSpec } from "../spec.ts";

/** What the layers of a stack share: sizes are the rank's own. */
interface Context {
  readonly g: GraphBuilder;
  readonly w: WeightSource;
  readonly options: GraphOptions;
  readonly spec: DecoderSpec;
  readonly pair: EncoderDecoderSpec;
  readonly stack: "encoder" | "decoder";
  readonly heads: number;
  readonly headDim: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly group: TpGroup;
  readonly first: boolean;
  readonly last: boolean;
}

/**
 * `encoder/rank{R}.onnx`: input_ids and attention_mask [batch, encoder_seq], and the prompt table of a model with images
 * → encoder_output [batch, encoder_seq, hidden].
 */
export function encoderGraph(model: ModelSpec, options: GraphOptions): Graph {
  const c = contextOf("encoder", model, options);
  const { g, pair } = c;
  const ids = c.first ? g.input("input_ids", "int32", ["batch", "encoder_seq"]) : undefined;
  const attentionMask = g.input("attention_mask", "int32", ["batch", "encoder_seq"]);
  const hidden = hiddenInput(c, ids, "encoder_seq", x => embed(c, x, () => columns(c, x), options.promptTable));
  const attend = encoderAttention(c, hidden, attentionMask);
  let x = g.tap(c.first ? "encoder_embeds" : "encoder_input", hidden);
  for (let layer = 0; layer < c.layers; layer++) {
    const name = `encoder_layers.${layer}`;
    x = g.scope(name, () => {
      const mixed = residual(c, x, `${name}.attention_layernorm`, y => attend(y, `${name}.attention`));
      return residual(c, mixed, `${name}.mlp_layernorm`, y => feedForward(c, y, `${name}.mlp`));
    });
    g.tap(`encoder_layers.${firstLayer(c) + layer}`, x);
  }
  if (!c.last) g.output(x, "hidden_states_output");
  else g.output(pair.finalNorm ? norm(c, x, "final_layernorm") : x, "encoder_output");
  return g.finish();
}

/** Self-attention of an encoder's layers: what its queries see is the same in each. */
function encoderAttention(c: Context, hidden: Value, attentionMask: Value): (y: Value, name: string) => Value {
  const { g, pair, heads, headDim } = c;
  const relative = (): Value | undefined =>
    pair.relative && bias(c, `encoder_layers.0.attention.rel_attn_table`, encoderDistances(c, attentionMask));
  if (isBertNode(g, hidden, headDim)) {
    const ofAll = { heads, scale: scaleOf(c), bias: relative(), lengths: g.sumLast(attentionMask) };
    return (y, name) => {
      const [q, k, v] = fusedProjection(c, y, name);
      return output(c, bertAttention(g, { ...ofAll, q, k, v }), name);
    };
  }
  const visible = paddingMask(g, attentionMask, hidden);
  const added = relative();
  const mask = added === undefined ? visible : maskedBias(g, visible, added);
  return (y, name) => {
    const [q, k, v] = projected(c, y, name);
    return dense(c, attention(g, q, k, v, scaleOf(c), mask), name);
  };
}

/** `decoder/cross_rank{R}.onnx`: encoder_output → cross_key_i, cross_value_i [batch, heads, encoder_seq, head_dim] of the rank's layers. */
export function crossGraph(model: ModelSpec, options: GraphOptions): Graph {
  const c = contextOf("decoder", model, options);
  const { g, w, spec, pair, heads, headDim } = c;
  const inner = heads * headDim;
  const encoded = g.input("encoder_output", options.computeDtype, ["batch", "encoder_seq", pair.encoderSize]);
  for (let layer = 0; layer < c.layers; layer++) {
    const name = `decoder_layers.${layer}.cross_attention.qkv`;
    const sizes = { in: pair.encoderSize, out: 3 * inner, bias: spec.attentionBias };
    g.scope(`decoder_layers.${layer}`, () => {
      for (const [part, start] of [
        ["key", inner],
        ["value", 2 * inner],
      ] as const) {
        const rows = linearRows(g, w, encoded, name, sizes, [start, start + inner]);
        g.output(splitHeads(g, rows, heads, headDim), `cross_${part}_${layer}`);
      }
    });
  }
  return g.finish();
}

/**
 * `decoder/rank{R}.onnx`: the decoder contract of docs/internals/graph-contract.md, less position_ids where positions are
 * relative, and the encoder's cross_key_i, cross_value_i and encoder_attention_mask.
 */
export function encoderDecoderGraph(model: ModelSpec, options: GraphOptions): Graph {
  const c = contextOf("decoder", model, options);
  const { g, spec, pair } = c;
  const ids = c.first ? g.input("input_ids", "int32", ["batch", "seq"]) : undefined;
  const positions =
    c.first && spec.positions === "learned" ? g.input("position_ids", "int32", ["batch", "seq"]) : undefined;
  const lastTokenIds = c.last ? g.input("last_token_ids", "int32", ["batch"]) : undefined;
  const hidden = hiddenInput(c, ids, "seq", x => embed(c, x, () => positions, false));
  const { kvCache } = options;
  const like = ids ?? hidden;
  const cache =
    kvCache.type === "static"
      ? staticCache(g, plainForm(options.computeDtype), like, kvCache.capacity)
      : continuousCache(g, plainForm(options.computeDtype), like);
  const encoderMask = paddingMask(g, g.input("encoder_attention_mask", "int32", ["batch", "encoder_seq"]), like);
  const mask =
    pair.relative === undefined
      ? cache.mask()
      : maskedBias(g, cache.mask(), bias(c, "decoder_layers.0.self_attention.rel_attn_table", cache.distances()));
  let x = g.tap("inputs_embeds", hidden);
  for (let layer = 0; layer < c.layers; layer++) {
    x = g.tap(
      `layers.${firstLayer(c) + layer}`,
      g.scope(`decoder_layers.${layer}`, () => decoderLayer(c, x, layer, cache, mask, encoderMask)),
    );
  }
  if (lastTokenIds === undefined) g.output(x, "hidden_states_output");
  else
    g.output(
      g.scope("lm_head", () => logits(c, x, lastTokenIds)),
      "logits",
    );
  cache.finish();
  return g.finish();
}

function contextOf(stack: Context["stack"], { language, encoderDecoder }: ModelSpec, options: GraphOptions): Context {
  if (encoderDecoder === undefined) throw new Error(`${language.architecture} has no encoder`);
  const sizes = stack === "encoder" ? encoderDecoder.encoder : language;
  if (sizes === undefined) throw new Error(`${language.architecture} has no text encoder`);
  const { tpSize, ppSize, rank } = options;
  const pipelineStage = Math.floor(rank / tpSize);
  return {
    g: new GraphBuilder(stack, options.dialect, encoderPlugins(options.plugins)),
    w: new WeightSource(options.weightDtype, options.computeDtype),
    options,
    spec: language,
    pair: encoderDecoder,
    stack,
    heads: sizes.heads / tpSize,
    headDim: sizes.headDim,
    intermediate: sizes.intermediateSize / tpSize,
    layers: sizes.layers / ppSize,
    group: tpGroup(tpSize, ppSize, rank),
    first: pipelineStage === 0,
    last: pipelineStage === ppSize - 1,
  };
}

function firstLayer({ layers, options }: Context): number {
  return layers * Math.floor(options.rank / options.tpSize);
}

/** Embedded ids on the first pipeline stage, what the stage before gave on the others. */
function hiddenInput(c: Context, ids: Value | undefined, seq: string, embedded: (ids: Value) => Value): Value {
  const { g, spec, options } = c;
  if (ids === undefined) return g.input("hidden_states_input", options.computeDtype, ["batch", seq, spec.hiddenSize]);
  return g.scope("embedding", () => embedded(ids));
}

/** words (· √hidden) (+ positions) (→ norm). */
function embed(c: Context, ids: Value, positionsOf: () => Value | undefined, promptTable: boolean): Value {
  const { g, w, spec, pair, options } = c;
  const words = w.get(g, "embedding.vocab_embedding.weight", [spec.vocabSize, spec.hiddenSize]);
  const looked = promptTable
    ? promptTuningEmbedding(g, ids, spec.vocabSize, at => g.gather(words, at), {
        table: g.input("prompt_embedding_table", options.computeDtype, ["rows", spec.hiddenSize]),
        tasks: g.input("tasks", "int32", ["batch", 1]),
        vocabSize: g.input("prompt_vocab_size", "int32", [1]),
      })
    : g.gather(words, ids);
  const scaled = pair.embeddingScale ? g.multiply(looked, g.scalar(Math.sqrt(spec.hiddenSize), looked.dtype)) : looked;
  if (spec.positions !== "learned") return scaled;
  const table = w.get(g, "embedding.position_embedding.weight", [spec.maxPositions, spec.hiddenSize]);
  const placed = g.add(scaled, g.gather(table, positionsOf() as Value));
  return pair.embeddingNorm ? norm(c, placed, "embedding.embedding_layernorm") : placed;
}

/** 0, 1, 2 … for each column: an encoder's padding is on the right. int64 [1, encoder_seq]. */
function columns({ g }: Context, ids: Value): Value {
  return g.unsqueeze(g.range(g.sizeOf(ids, 1), "encoder_seq"), [0]);
}

function encoderDistances(c: Context, attentionMask: Value): Value {
  const at = columns(c, attentionMask);
  return distanceOf(c.g, c.g.unsqueeze(at, [1]), c.g.unsqueeze(at, [2]));
}

function bias(c: Context, name: string, distances: Value): Value {
  const { relative } = c.pair;
  if (relative === undefined) throw new Error(`${c.stack} has no relative bias`);
  return relativeBias(c.g, c.w, name, c.heads, { ...relative, bidirectional: c.stack === "encoder" }, distances);
}

/** Pre-norm: x + f(norm(x)); post-norm: norm(x + f(x)). */
function residual(c: Context, x: Value, normName: string, f: (y: Value) => Value): Value {
  if (c.spec.postNorm) return norm(c, c.g.add(x, f(x)), normName);
  return c.g.add(x, f(norm(c, x, normName)));
}

function norm({ g, w, spec }: Context, x: Value, name: string): Value {
  return (spec.norm === "rms" ? rmsNorm : layerNorm)(g, w, x, name, spec.normEps);
}

function decoderLayer(c: Context, x: Value, layer: number, cache: KvCache, mask: Value, encoderMask: Value): Value {
  const { g } = c;
  const name = `decoder_layers.${layer}`;
  const own = residual(c, x, `${name}.self_attention_layernorm`, y =>
    g.scope("self_attention", () => {
      const [q, key, value] = projected(c, y, `${name}.self_attention`);
      const cached = cache.update(layer, { key, value });
      return dense(c, attention(g, q, cached.key, cached.value, scaleOf(c), mask), `${name}.self_attention`);
    }),
  );
  const crossed = residual(c, own, `${name}.cross_attention_layernorm`, y =>
    g.scope("cross_attention", () => crossAttention(c, y, layer, encoderMask, `${name}.cross_attention`)),
  );
  return residual(c, crossed, `${name}.mlp_layernorm`, y => g.scope("mlp", () => feedForward(c, y, `${name}.mlp`)));
}

/** Queries of the decoder, keys and values of the encoder, which are inputs: they are the same at every step. */
function crossAttention(c: Context, x: Value, layer: number, mask: Value, name: string): Value {
  const { g, w, spec, heads, headDim } = c;
  const inner = heads * headDim;
  const sizes = { in: spec.hiddenSize, out: 3 * inner, bias: spec.attentionBias };
  const q = splitHeads(g, linearRows(g, w, x, `${name}.qkv`, sizes, [0, inner]), heads, headDim);
  const [key, value] = (["key", "value"] as const).map(part =>
    g.input(`cross_${part}_${layer}`, q.dtype, ["batch", heads, "encoder_seq", headDim]),
  ) as [Value, Value];
  return dense(c, attention(g, q, key, value, scaleOf(c), mask), name);
}

/** q, k and v by heads. */
function projected(c: Context, x: Value, name: string): Projection {
  const { g, heads, headDim } = c;
  return fusedProjection(c, x, name).map(part => splitHeads(g, part, heads, headDim)) as unknown as Projection;
}

type Projection = readonly [Value, Value, Value];

/** q, k and v [batch, seq, heads · head_dim]. */
function fusedProjection({ g, w, spec, heads, headDim }: Context, x: Value, name: string): Projection {
  const inner = heads * headDim;
  const qkv = linear(g, w, x, `${name}.qkv`, { in: spec.hiddenSize, out: 3 * inner, bias: spec.attentionBias });
  return g.split(qkv, [inner, inner, inner], 2) as unknown as Projection;
}

function dense(c: Context, mixed: Value, name: string): Value {
  return output(c, mergeHeads(c.g, mixed), name);
}

function output({ g, w, spec, heads, headDim, group }: Context, merged: Value, name: string): Value {
  const sizes = { in: heads * headDim, out: spec.hiddenSize, bias: spec.outputBias };
  return rowParallelLinear(g, w, merged, `${name}.dense`, sizes, group);
}

function scaleOf({ pair, headDim }: Context): number {
  return pair.scaledAttention ? headDim ** -0.5 : 1;
}

function feedForward({ g, w, spec, intermediate, group }: Context, x: Value, name: string): Value {
  const sizes = { intermediate, activation: spec.activation, bias: spec.mlpBias };
  return (spec.mlp === "gated" ? gatedMlp : plainMlp)(g, w, x, name, sizes, group);
}

/** Logits of each item's last token, all of them on every rank. */
function logits(c: Context, x: Value, lastTokenIds: Value): Value {
  const { g, w, spec, pair, options } = c;
  const last = g.gatherRow(x, g.cast(lastTokenIds, "int64"));
  const normed = pair.finalNorm ? norm(c, last, "final_layernorm") : last;
  const scaled = pair.scaledLogits ? g.multiply(normed, g.scalar(spec.hiddenSize ** -0.5, normed.dtype)) : normed;
  const sizes = { in: spec.hiddenSize, out: spec.vocabSize / options.tpSize };
  return g.cast(allGather(g, linear(g, w, scaled, "lm_head", sizes), c.group), options.logitsDtype ?? "float32");
}
