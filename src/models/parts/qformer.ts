import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { activate } from "../../layers/activation.ts";
import { linear } from "../../layers/linear.ts";
import { layerNorm } from "../../layers/norm.ts";
import type { WeightSource } from "../../layers/weights.ts";
import type { VisualRule } from "../architecture.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { QFormerSpec, VisionSpec } from "../spec.ts";
import { checkHeads, readCommonKeys, readSize } from "./common-keys.ts";
import { multiHead } from "./vit-graph.ts";
import { visualLinear, visualNorm } from "./weight-rules.ts";

/** Blip2QFormerConfig's defaults: transformers leaves keys with these values out of a nested config. */
const DEFAULTS = { hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 3072 };

const ACTIVATIONS: Readonly<Record<string, QFormerSpec["activation"]>> = {
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  relu: "relu",
};

/** The keys of a Blip2QFormerConfig. Its queries look at the features of `vision`. */
export function readQFormer(c: ConfigReader, queries: number, vision: VisionSpec): QFormerSpec {
  const size = (key: keyof typeof DEFAULTS): number => readSize(c, key, DEFAULTS[key]);
  readCommonKeys(c);
  // Its vocabulary and positions are for text that BLIP-2 does not give it.
  c.ignore("attention_probs_dropout_prob", "hidden_dropout_prob", "vocab_size", "max_position_embeddings");
  c.ignore("pad_token_id", "classifier_dropout", "position_embedding_type", "encoder_hidden_size");
  c.only("use_qformer_text_input", [false], "the question would go through the Q-Former as well (InstructBLIP)");
  const [hiddenSize, heads] = [size("hidden_size"), size("num_attention_heads")];
  checkHeads(c, hiddenSize, heads);
  return {
    queries,
    hiddenSize,
    layers: size("num_hidden_layers"),
    heads,
    intermediateSize: size("intermediate_size"),
    activation: ACTIVATIONS[c.choice("hidden_act", Object.keys(ACTIVATIONS), "gelu")] ?? "gelu",
    normEps: c.number("layer_norm_eps", 1e-12),
    crossAttentionFrequency: readSize(c, "cross_attention_frequency", 2),
    encoderSize: vision.hiddenSize,
  };
}

const looksAtImage = (spec: QFormerSpec, layer: number): boolean => layer % spec.crossAttentionFrequency === 0;

export function qformerWeights(spec: QFormerSpec): VisualRule[] {
  const { hiddenSize: hidden, intermediateSize, encoderSize } = spec;
  const attention = (name: string, from: number): VisualRule[] => [
    ...visualLinear(`${name}.attention.query`, hidden, hidden, true),
    ...visualLinear(`${name}.attention.key`, hidden, from, true),
    ...visualLinear(`${name}.attention.value`, hidden, from, true),
    ...visualLinear(`${name}.output.dense`, hidden, hidden, true),
    ...visualNorm(`${name}.output.LayerNorm`, hidden),
  ];
  const layers = Array.from({ length: spec.layers }, (_, i) => {
    const name = `qformer.encoder.layer.${i}`;
    return [
      ...attention(`${name}.attention`, hidden),
      ...(looksAtImage(spec, i) ? attention(`${name}.crossattention`, encoderSize) : []),
      ...visualLinear(`${name}.intermediate_query.dense`, intermediateSize, hidden, true),
      ...visualLinear(`${name}.output_query.dense`, hidden, intermediateSize, true),
      ...visualNorm(`${name}.output_query.LayerNorm`, hidden),
    ];
  });
  return [
    { name: "query_tokens", shape: [1, spec.queries, hidden] },
    ...visualNorm("qformer.layernorm", hidden),
    ...layers.flat(),
  ];
}

/**
 * Learned queries that look at each other in every layer and at the image in every n-th, post-norm as BERT:
 * features [batch, tokens, vision_hidden] → [batch, queries, hidden].
 */
export function qformer(g: GraphBuilder, w: WeightSource, spec: QFormerSpec, features: Value): Value {
  const { queries, hiddenSize: hidden, normEps } = spec;
  const tokens = w.get(g, "query_tokens", [1, queries, hidden]);
  const shape = g.concat([g.sizeOf(features, 0), g.int64s([queries, hidden])], 0);
  // Normed before they are repeated: the queries are the same for every image.
  let x = g.expand(layerNorm(g, w, tokens, "qformer.layernorm", normEps), shape, ["batch", queries, hidden]);
  for (let layer = 0; layer < spec.layers; layer++) {
    x = g.scope(`layers.${layer}`, () => queryLayer(g, w, spec, x, features, layer));
  }
  return x;
}

function queryLayer(
  g: GraphBuilder,
  w: WeightSource,
  spec: QFormerSpec,
  x: Value,
  features: Value,
  layer: number,
): Value {
  const { hiddenSize: hidden, intermediateSize, activation, normEps } = spec;
  const name = `qformer.encoder.layer.${layer}`;
  const own = g.scope("attention", () => attend(g, w, spec, x, x, `${name}.attention`));
  const seen = looksAtImage(spec, layer)
    ? g.scope("cross_attention", () => attend(g, w, spec, own, features, `${name}.crossattention`))
    : own;
  return g.scope("mlp", () => {
    const sizes = { in: hidden, out: intermediateSize, bias: true };
    const up = linear(g, w, seen, `${name}.intermediate_query.dense`, sizes);
    const down = { in: intermediateSize, out: hidden, bias: true };
    const fed = linear(g, w, activate(g, up, activation), `${name}.output_query.dense`, down);
    return layerNorm(g, w, g.add(fed, seen), `${name}.output_query.LayerNorm`, normEps);
  });
}

/** norm(x + dense(attention of x on `context`)). */
function attend(g: GraphBuilder, w: WeightSource, spec: QFormerSpec, x: Value, context: Value, name: string): Value {
  const { hiddenSize: hidden, heads, normEps } = spec;
  const from = { in: dimOf(context, 2) as number, out: hidden, bias: true };
  const square = { in: hidden, out: hidden, bias: true };
  const q = linear(g, w, x, `${name}.attention.query`, square);
  const k = linear(g, w, context, `${name}.attention.key`, from);
  const v = linear(g, w, context, `${name}.attention.value`, from);
  const mixed = linear(g, w, multiHead(g, [q, k, v], heads), `${name}.output.dense`, square);
  return layerNorm(g, w, g.add(mixed, x), `${name}.output.LayerNorm`, normEps);
}
