import type { Graph, Value } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import { attention, mergeHeads, splitHeads } from "../../layers/attention.ts";
import { promptTuningEmbedding } from "../../layers/embedding.ts";
import { continuousCache, type KvCache, staticCache } from "../../layers/kv-cache.ts";
import { linear, rowParallelLinear } from "../../layers/linear.ts";
import { gatedMlp } from "../../layers/mlp.ts";
import { rmsNorm } from "../../layers/norm.ts";
import { applyRope, inverseFrequencies, type RopeTables, ropeTables } from "../../layers/rope.ts";
import { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions } from "../architecture.ts";
import type { DecoderSpec, ModelSpec } from "../spec.ts";

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
  readonly tpSize: number;
  readonly rope: RopeTables;
  readonly cache: KvCache;
}

/**
 * A pre-norm decoder with rotary positions, grouped-query attention and a gated MLP (LLaMA and its kin), as the rank
 * `options.rank` of the TensorRT-LLM checkpoint. Inputs and outputs are the contract of docs/internals/graph-contract.md.
 */
export function decoderGraph(spec: ModelSpec, options: GraphOptions): Graph {
  const language = spec.language;
  const rank = rankOf(language, options);
  const g = new GraphBuilder("decoder", options.dialect);
  const w = new WeightSource(options.weightDtype, options.computeDtype);

  const ids = rank.first ? g.input("input_ids", "int32", ["batch", "seq"]) : undefined;
  const positionIds = g.input("position_ids", "int32", ["batch", "seq"]);
  const lastTokenIds = rank.last ? g.input("last_token_ids", "int32", ["batch"]) : undefined;
  const entry =
    ids === undefined
      ? g.input("hidden_states_input", options.computeDtype, ["batch", "seq", language.hiddenSize])
      : g.scope("embedding", () => embed(g, w, language, options, ids));
  const frequencies = inverseFrequencies(language.headDim, language.ropeTheta, language.ropeScaling);
  const context: Context = {
    g,
    w,
    spec: language,
    rank,
    tpSize: options.tpSize,
    rope: ropeTables(g, positionIds, frequencies, options.computeDtype),
    cache:
      options.kvCache.type === "static"
        ? staticCache(g, options.computeDtype, positionIds, options.kvCache.capacity)
        : continuousCache(g, options.computeDtype, positionIds),
  };

  const firstLayer = rank.layers * Math.floor(options.rank / options.tpSize);
  let x = g.tap("inputs_embeds", entry);
  for (let layer = 0; layer < rank.layers; layer++) {
    x = g.tap(
      `layers.${firstLayer + layer}`,
      g.scope(`layers.${layer}`, () => decoderLayer(context, x, layer)),
    );
  }
  if (lastTokenIds === undefined) g.output(x, "hidden_states_output");
  else
    g.output(
      g.scope("lm_head", () => logits(context, x, lastTokenIds)),
      "logits",
    );
  context.cache.finish();
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

function embed(g: GraphBuilder, w: WeightSource, spec: DecoderSpec, options: GraphOptions, ids: Value): Value {
  const words = w.get(g, "transformer.vocab_embedding.weight", [spec.vocabSize, spec.hiddenSize]);
  if (!options.promptTable) return g.gather(words, ids);
  const table = g.input("prompt_embedding_table", options.computeDtype, ["rows", spec.hiddenSize]);
  const tasks = g.input("tasks", "int32", ["batch", 1]);
  const vocabSize = g.input("prompt_vocab_size", "int32", [1]);
  return promptTuningEmbedding(g, ids, words, { table, tasks, vocabSize });
}

function decoderLayer(c: Context, x: Value, layer: number): Value {
  const { g, w, spec, rank } = c;
  const name = `transformer.layers.${layer}`;
  const normed = rmsNorm(g, w, x, `${name}.input_layernorm`, spec.normEps);
  const middle = g.add(
    x,
    g.scope("attention", () => selfAttention(c, normed, layer, `${name}.attention`)),
  );
  const normedMiddle = rmsNorm(g, w, middle, `${name}.post_layernorm`, spec.normEps);
  const sizes = { intermediate: rank.intermediate, activation: spec.activation, bias: spec.mlpBias };
  const fed = g.scope("mlp", () => gatedMlp(g, w, normedMiddle, `${name}.mlp`, sizes, c.tpSize));
  return g.add(middle, fed);
}

/** qkv → heads → rope → cache → attention → dense. */
function selfAttention(c: Context, x: Value, layer: number, name: string): Value {
  const { g, w, spec, rank } = c;
  const qSize = rank.heads * spec.headDim;
  const kvSize = rank.kvHeads * spec.headDim;
  const qkv = linear(g, w, x, `${name}.qkv`, {
    in: spec.hiddenSize,
    out: qSize + 2 * kvSize,
    bias: spec.attentionBias,
  });
  const [q, k, v] = g.split(qkv, [qSize, kvSize, kvSize], 2) as [Value, Value, Value];
  const query = applyRope(g, splitHeads(g, q, rank.heads, spec.headDim), c.rope);
  const cached = c.cache.update(layer, {
    key: applyRope(g, splitHeads(g, k, rank.kvHeads, spec.headDim), c.rope),
    value: splitHeads(g, v, rank.kvHeads, spec.headDim),
  });
  const attended = attention(g, query, cached.key, cached.value, 1 / Math.sqrt(spec.headDim), c.cache.mask);
  const sizes = { in: qSize, out: spec.hiddenSize, bias: spec.outputBias };
  return rowParallelLinear(g, w, mergeHeads(g, attended), `${name}.dense`, sizes, c.tpSize);
}

/** float32 logits of each item's last token: the row is picked before the norm, so one row and not seq goes through the head. */
function logits(c: Context, x: Value, lastTokenIds: Value): Value {
  const { g, w, spec, rank } = c;
  const last = g.gatherRow(x, g.cast(lastTokenIds, "int64"));
  const normed = rmsNorm(g, w, last, "transformer.ln_f", spec.normEps);
  return g.cast(linear(g, w, normed, "lm_head", { in: spec.hiddenSize, out: rank.vocab }), "float32");
}
