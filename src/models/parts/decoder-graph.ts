import type { Graph, Value } from "../../graph/graph.ts";
import { dimOf, GraphBuilder } from "../../graph/ops.ts";
import { softCap } from "../../layers/attention.ts";
import { allGather, type TpGroup, tpGroup } from "../../layers/collective.ts";
import { deepstackRows, lookUp, type PromptTable, promptTuningEmbedding } from "../../layers/embedding.ts";
import { LAYER_NORM } from "../../layers/fused/layer-norm.ts";
import { PROMPT_TUNING_EMBEDDING, wholePromptTuningEmbedding } from "../../layers/fused/prompt-tuning-embedding.ts";
import { RMS_NORM } from "../../layers/fused/rms-norm.ts";
import { linear, rowParallelLinear } from "../../layers/linear.ts";
import { LoraInputs } from "../../layers/lora.ts";
import { fusedMlp, gatedMlp, plainMlp } from "../../layers/mlp.ts";
import { addLayerNorm, addRmsNorm, hasNormOfSum, layerNorm, type NormOfSum, rmsNorm } from "../../layers/norm.ts";
import { normQueriesAndKeys, type SelfAttention } from "../../layers/self-attention.ts";
import { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions } from "../architecture.ts";
import type { DecoderSpec, ModelSpec } from "../spec.ts";
import { decoderAttention } from "./decoder-attention.ts";

/** What one rank holds of the model. */
interface Rank {
  readonly heads: number;
  readonly kvHeads: number;
  readonly intermediate: number;
  readonly vocab: number;
  readonly layers: number;
  readonly first: boolean;
  readonly last: boolean;
}

/** Everything a layer needs besides its input. */
interface Context {
  readonly g: GraphBuilder;
  readonly w: WeightSource;
  readonly spec: DecoderSpec;
  readonly rank: Rank;
  readonly group: TpGroup;
  /** Checkpoint name of the product that gives logits. */
  readonly head: string;
  readonly logitsDtype: "float32" | "float16";
  readonly attention: SelfAttention;
  /** Number of this rank's first layer in the model. */
  readonly firstLayer: number;
  /** What is added behind each of the first layers, which are all on the first rank. */
  readonly added: readonly Value[];
}

/** Of M-RoPE: frame, row, column. */
const AXES = 3;

/** What goes into the first layer, and what is added behind it and those after it. */
interface Entry {
  readonly entry: Value;
  readonly added?: readonly Value[];
}

/** Between two layers: x, or x + residual where the next layer's norm adds them in one pass over memory. */
interface Hidden {
  readonly x: Value;
  readonly residual?: Value;
}

/**
 * A decoder of the kinds DecoderSpec tells apart (norms, positions, MLP, grouped-query attention), as rank
 * `options.rank` of the TensorRT-LLM checkpoint. Inputs and outputs are the contract of docs/internals/graph-contract.md.
 */
export function decoderGraph(spec: ModelSpec, options: GraphOptions): Graph {
  const language = spec.language;
  const rank = rankOf(language, options);
  const g = new GraphBuilder("decoder", options.dialect, new Set(options.plugins));
  const firstLayer = rank.layers * Math.floor(options.rank / options.tpSize);
  const place = { firstLayer, tpSize: options.tpSize };
  const adapters = options.lora && new LoraInputs(options.lora, place, options.computeDtype);
  const w = new WeightSource(options.weightDtype, options.computeDtype, options.quantization, adapters);

  const ids = rank.first ? g.input("input_ids", "int32", ["batch", "seq"]) : undefined;
  const axes = language.mrope === undefined ? [] : [AXES];
  const positionIds = g.input("position_ids", "int32", [...axes, "batch", "seq"]);
  const lastTokenIds = rank.last ? g.input("last_token_ids", "int32", ["batch"]) : undefined;
  const { entry, added = [] }: Entry =
    ids === undefined
      ? { entry: g.input("hidden_states_input", options.computeDtype, ["batch", "seq", language.hiddenSize]) }
      : g.scope("embedding", () => embed(g, w, language, options, ids, positionIds));
  const context: Context = {
    g,
    w,
    spec: language,
    rank,
    group: tpGroup(options.tpSize, options.ppSize, options.rank),
    head: options.shareEmbedding ? "transformer.vocab_embedding" : "lm_head",
    logitsDtype: options.logitsDtype ?? "float32",
    attention: decoderAttention(g, w, language, { ...rank, headDim: language.headDim }, options, positionIds),
    firstLayer,
    added,
  };

  let hidden: Hidden = { x: g.tap("inputs_embeds", entry) };
  for (let layer = 0; layer < rank.layers; layer++)
    hidden = g.scope(`layers.${layer}`, () => decoderLayer(context, hidden, layer));
  const { x } = hidden;
  if (lastTokenIds === undefined) g.output(x, "hidden_states_output");
  else
    g.output(
      g.scope("lm_head", () => logits(context, x, lastTokenIds)),
      "logits",
    );
  context.attention.finish();
  return g.finish();
}

function rankOf(spec: DecoderSpec, { tpSize, ppSize, rank }: GraphOptions): Rank {
  const stage = Math.floor(rank / tpSize);
  return {
    heads: spec.heads / tpSize,
    kvHeads: Math.max(1, spec.kvHeads / tpSize),
    intermediate: spec.intermediateSize / tpSize,
    vocab: Math.ceil(spec.vocabSize / tpSize),
    layers: spec.layers / ppSize,
    first: stage === 0,
    last: stage === ppSize - 1,
  };
}

function embed(
  g: GraphBuilder,
  w: WeightSource,
  spec: DecoderSpec,
  options: GraphOptions,
  ids: Value,
  positionIds: Value,
): Entry {
  const group = tpGroup(options.tpSize, options.ppSize, options.rank);
  const from = (name: string, rows: number, at: Value): Value =>
    lookUp(
      g,
      w,
      { name: `transformer.${name}.weight`, rows, width: spec.hiddenSize, split: options.parallelEmbedding },
      at,
      group,
    );
  const words = (at: Value): Value => {
    const rows = from("vocab_embedding", spec.vocabSize, at);
    return spec.embeddingScale === undefined ? rows : g.multiply(rows, g.scalar(spec.embeddingScale, rows.dtype));
  };
  const prompt = options.promptTable ? promptInputs(g, spec, options) : undefined;
  const x = prompt === undefined ? words(ids) : promptTuned(g, w, spec, options, { ids, words, prompt });
  if (spec.positions !== "rope") return { entry: g.add(x, from("position_embedding", spec.maxPositions, positionIds)) };
  const { vocabSize, hiddenSize, deepstackLevels: levels } = spec;
  if (prompt === undefined || levels === undefined) return { entry: x };
  const table = g.input("deepstack_table", options.computeDtype, [levels, "rows", hiddenSize]);
  return { entry: x, added: deepstackRows(g, ids, vocabSize, table, prompt) };
}

function promptInputs(g: GraphBuilder, { hiddenSize }: DecoderSpec, { computeDtype }: GraphOptions): PromptTable {
  return {
    table: g.input("prompt_embedding_table", computeDtype, ["rows", hiddenSize]),
    tasks: g.input("tasks", "int32", ["batch", 1]),
    vocabSize: g.input("prompt_vocab_size", "int32", [1]),
  };
}

/** A plugin looks up words itself, so it takes a table that is whole on this rank and has the rows as they are used. */
function promptTuned(
  g: GraphBuilder,
  w: WeightSource,
  { vocabSize, hiddenSize, embeddingScale }: DecoderSpec,
  { parallelEmbedding }: GraphOptions,
  { ids, words, prompt }: { readonly ids: Value; words(ids: Value): Value; readonly prompt: PromptTable },
): Value {
  const asStored = parallelEmbedding === undefined && embeddingScale === undefined;
  if (!asStored || !g.plugins.has(PROMPT_TUNING_EMBEDDING.name))
    return promptTuningEmbedding(g, ids, vocabSize, words, prompt);
  const table = w.get(g, "transformer.vocab_embedding.weight", [vocabSize, hiddenSize]);
  return wholePromptTuningEmbedding(g, ids, table, prompt);
}

/** Pre-norm: x + f(norm(x)) twice; post-norm: norm(x + f(x)) twice; both: x + norm(f(norm(x))) twice. */
function decoderLayer(c: Context, hidden: Hidden, layer: number): Hidden {
  const { g } = c;
  const tapped = (sum: Value, of = layer): Value => g.tap(`layers.${c.firstLayer + of}`, sum);
  const name = `transformer.layers.${layer}`;
  const attend = (y: Value): Value => g.scope("attention", () => selfAttention(c, y, layer, `${name}.attention`));
  const feed = (y: Value): Value => g.scope("mlp", () => feedForward(c, y, `${name}.mlp`));
  if (c.spec.postNorm) {
    const { x } = hidden;
    const middle = norm(c, g.add(x, attend(x)), `${name}.input_layernorm`);
    return { x: tapped(norm(c, g.add(middle, feed(middle)), `${name}.post_layernorm`)) };
  }
  const before = firstNorm(c, hidden, `${name}.input_layernorm`);
  if (hidden.residual !== undefined) tapped(before.sum, layer - 1);
  const attended = attend(before.y);
  if (c.spec.outputNorms) {
    const normed = norm(c, attended, `${name}.post_layernorm`);
    const { y, sum } = addNorm(c, normed, before.sum, `${name}.pre_feedforward_layernorm`);
    return { x: tapped(g.add(sum, norm(c, feed(y), `${name}.post_feedforward_layernorm`))) };
  }
  const { y, sum } = addNorm(c, attended, before.sum, `${name}.post_layernorm`);
  const x = feed(y);
  const added = c.added[c.firstLayer + layer];
  if (added !== undefined) return { x: g.add(tapped(g.add(sum, x)), added) };
  return layer + 1 < c.rank.layers && addsInNorm(c) ? { x, residual: sum } : { x: tapped(g.add(sum, x)) };
}

/** The norm at a layer's begin, and what it is of. */
function firstNorm(c: Context, { x, residual }: Hidden, name: string): NormOfSum {
  return residual === undefined ? { y: norm(c, x, name), sum: x } : addNorm(c, x, residual, name);
}

/** Whether a node adds the residual before the norm. */
function addsInNorm({ g, spec }: Context): boolean {
  return hasNormOfSum(g, spec.norm === "rms" ? RMS_NORM : LAYER_NORM);
}

/** x + residual, and the norm of that. */
function addNorm({ g, w, spec }: Context, x: Value, residual: Value, name: string): NormOfSum {
  return (spec.norm === "rms" ? addRmsNorm : addLayerNorm)(g, w, x, residual, name, spec.normEps);
}

function norm({ g, w, spec }: Context, x: Value, name: string): Value {
  return (spec.norm === "rms" ? rmsNorm : layerNorm)(g, w, x, name, spec.normEps);
}

const MLPS = { gated: gatedMlp, fused: fusedMlp, plain: plainMlp } as const;

function feedForward({ g, w, spec, rank, group }: Context, x: Value, name: string): Value {
  const sizes = { intermediate: rank.intermediate, activation: spec.activation, bias: spec.mlpBias };
  return MLPS[spec.mlp](g, w, x, name, sizes, group);
}

/** qkv → norms of q and k → attention over the cache → dense. */
function selfAttention(c: Context, x: Value, layer: number, name: string): Value {
  const { g, w, spec, rank } = c;
  const qSize = rank.heads * spec.headDim;
  const qkv = linear(g, w, x, `${name}.qkv`, {
    in: spec.hiddenSize,
    out: qSize + 2 * rank.kvHeads * spec.headDim,
    bias: spec.attentionBias,
  });
  const heads = { ...rank, headDim: spec.headDim };
  const ready = spec.qkNorm ? normQueriesAndKeys(g, w, qkv, heads, name, spec.normEps) : qkv;
  const sizes = { in: qSize, out: spec.hiddenSize, bias: spec.outputBias };
  return rowParallelLinear(g, w, c.attention.attend(layer, ready), `${name}.dense`, sizes, c.group);
}

/**
 * Logits of each item's last token, all of them on every rank: the row is picked before the norm, so one row and not seq
 * goes through the head.
 */
function logits(c: Context, x: Value, lastTokenIds: Value): Value {
  const { g, w, spec, rank } = c;
  const last = g.gatherRow(x, g.cast(lastTokenIds, "int64"));
  const normed = spec.postNorm ? last : norm(c, last, "transformer.ln_f");
  const all = allGather(g, linear(g, w, normed, c.head, { in: spec.hiddenSize, out: rank.vocab }), c.group);
  // The last rank's rows beyond the vocabulary are padding.
  const words = dimOf(all, 1) === spec.vocabSize ? all : g.slice(all, 1, 0, spec.vocabSize);
  const { logitCap } = spec;
  const bounded = logitCap === undefined ? words : softCap(g, g.cast(words, "float32"), logitCap);
  return g.cast(bounded, c.logitsDtype);
}
