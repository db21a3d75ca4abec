import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { activate } from "../../layers/activation.ts";
import { bertAttention } from "../../layers/fused/bert-attention.ts";
import { linear } from "../../layers/linear.ts";
import { layerNorm, rmsNorm } from "../../layers/norm.ts";
import type { WeightSource } from "../../layers/weights.ts";
import type { VisionSpec } from "../spec.ts";
import { patchesPerSide, TOWERS, towerTokens } from "./vit.ts";

/** An image encoder up to its feature layer: pixels [batch, channels, H, W] → [batch, tokens, hidden]. */
export function vitTower(g: GraphBuilder, w: WeightSource, vision: VisionSpec, pixels: Value): Value {
  const { name, preNorm, lastNorm } = TOWERS[vision.kind];
  const embedded = g.scope("embeddings", () => embedPatches(g, w, vision, pixels));
  let x = preNorm === undefined ? embedded : layerNorm(g, w, embedded, `${name}.${preNorm}`, vision.normEps);
  for (let layer = 0; layer < vision.runLayers; layer++) {
    x = g.scope(`layers.${layer}`, () => encoderLayer(g, w, vision, x, `${name}.encoder.layers.${layer}`));
  }
  if (lastNorm === "used") x = layerNorm(g, w, x, `${name}.post_layernorm`, vision.normEps);
  return vision.dropClassToken ? g.slice(x, 1, 1, towerTokens(vision)) : x;
}

/** Patches by a strided convolution, a class token before them where the tower has one, a learned position each. */
function embedPatches(g: GraphBuilder, w: WeightSource, vision: VisionSpec, pixels: Value): Value {
  const { hiddenSize, patchSize, channels } = vision;
  const { name, classToken, patchBias, bareTables } = TOWERS[vision.kind];
  const side = patchesPerSide(vision);
  const kernel = w.get(g, `${name}.embeddings.patch_embedding.weight`, [hiddenSize, channels, patchSize, patchSize]);
  const bias = patchBias ? [w.get(g, `${name}.embeddings.patch_embedding.bias`, [hiddenSize])] : [];
  const grid = g.node(
    "Conv",
    [pixels, kernel, ...bias],
    { dtype: pixels.dtype, shape: ["batch", hiddenSize, side, side] },
    { strides: { ints: [patchSize, patchSize] }, kernel_shape: { ints: [patchSize, patchSize] } },
  );
  const patches = g.transpose(g.reshape(grid, ["batch", hiddenSize, side * side]), [0, 2, 1]);
  const rows = towerTokens(vision);
  const positions = bareTables
    ? w.get(g, `${name}.embeddings.position_embedding`, [1, rows, hiddenSize])
    : w.get(g, `${name}.embeddings.position_embedding.weight`, [rows, hiddenSize]);
  if (!classToken) return g.add(patches, positions);
  const token = w.get(g, `${name}.embeddings.class_embedding`, bareTables ? [1, 1, hiddenSize] : [hiddenSize]);
  const shape = g.concat([g.sizeOf(pixels, 0), g.int64s([1, hiddenSize])], 0);
  return g.add(g.concat([g.expand(token, shape, ["batch", 1, hiddenSize]), patches], 1), positions);
}

/** The default of InternViT's norms of queries and keys, which no config sets. */
const QK_NORM_EPS = 1e-6;

/** Pre-norm transformer layer, every row seeing every other. */
function encoderLayer(g: GraphBuilder, w: WeightSource, vision: VisionSpec, x: Value, name: string): Value {
  const { hiddenSize, intermediateSize, activation, normEps } = vision;
  const norm = vision.norm === "rms" ? rmsNorm : layerNorm;
  const scaled = (given: Value, lambda: string): Value =>
    TOWERS[vision.kind].layerScale ? g.multiply(given, w.get(g, `${name}.${lambda}`, [hiddenSize])) : given;
  const normed = norm(g, w, x, `${name}.layer_norm1`, normEps);
  const seen = g.scope("attention", () => selfAttention(g, w, vision, normed, `${name}.self_attn`));
  const middle = g.add(x, scaled(seen, "lambda_1"));
  const normedMiddle = norm(g, w, middle, `${name}.layer_norm2`, normEps);
  const fed = g.scope("mlp", () => {
    const up = linear(g, w, normedMiddle, `${name}.mlp.fc1`, { in: hiddenSize, out: intermediateSize, bias: true });
    const down = { in: intermediateSize, out: hiddenSize, bias: true };
    return linear(g, w, activate(g, up, activation), `${name}.mlp.fc2`, down);
  });
  return g.add(middle, scaled(fed, "lambda_2"));
}

function selfAttention(g: GraphBuilder, w: WeightSource, vision: VisionSpec, x: Value, name: string): Value {
  const { hiddenSize: hidden, heads } = vision;
  const { fusedQkv, outProjection } = TOWERS[vision.kind];
  const square = { in: hidden, out: hidden, bias: true };
  const bias = vision.qkvBias !== false;
  const parts: Value[] = fusedQkv
    ? [...g.split(linear(g, w, x, `${name}.qkv`, { in: hidden, out: 3 * hidden, bias }), [hidden, hidden, hidden], 2)]
    : ["q_proj", "k_proj", "v_proj"].map(part => linear(g, w, x, `${name}.${part}`, { ...square, bias }));
  if (vision.qkNorm)
    for (const [i, norm] of ["q_norm", "k_norm"].entries())
      parts[i] = rmsNorm(g, w, parts[i] as Value, `${name}.${norm}`, QK_NORM_EPS);
  return linear(g, w, multiHead(g, parts as [Value, Value, Value], heads), `${name}.${outProjection}`, square);
}

/** softmax(q·kᵀ/√d)·v by heads, without a mask: q [batch, rows, hidden], k and v [batch, others, hidden]. */
export function multiHead(g: GraphBuilder, [q, k, v]: readonly [Value, Value, Value], heads: number): Value {
  const headDim = (dimOf(q, 2) as number) / heads;
  return bertAttention(g, { q, k, v, heads, scale: headDim ** -0.5 });
}
