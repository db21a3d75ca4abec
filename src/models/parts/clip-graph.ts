import type { Graph, Value } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import { activate } from "../../layers/activation.ts";
import { attention, mergeHeads, splitHeads } from "../../layers/attention.ts";
import { linear } from "../../layers/linear.ts";
import { layerNorm } from "../../layers/norm.ts";
import { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions } from "../architecture.ts";
import type { ModelSpec, ProjectorSpec, VisionSpec } from "../spec.ts";

/** CLIP's vision tower up to the feature layer, then LLaVA's two-layer projector: pixels [batch, 3, H, W] → features [batch, N, llm_hidden]. */
export function clipVisualGraph(spec: ModelSpec, options: GraphOptions): Graph {
  const { vision, projector } = spec;
  if (vision === undefined || projector === undefined)
    throw new Error(`${spec.architecture} has no vision tower to build`);
  const g = new GraphBuilder("visual", options.dialect);
  const w = new WeightSource(options.weightDtype, options.computeDtype);
  const pixels = g.input("input", options.computeDtype, ["batch", vision.channels, vision.imageSize, vision.imageSize]);
  const features = g.tap("vision", clipTower(g, w, vision, pixels));
  g.output(
    g.tap(
      "projector",
      g.scope("projector", () => project(g, w, projector, features)),
    ),
    "output",
  );
  return g.finish();
}

const TOWER = "vision_tower.vision_model";

function clipTower(g: GraphBuilder, w: WeightSource, vision: VisionSpec, pixels: Value): Value {
  const embedded = g.scope("embeddings", () => embedPatches(g, w, vision, pixels));
  // "pre_layrnorm" is how the published weights spell it.
  let x = layerNorm(g, w, embedded, `${TOWER}.pre_layrnorm`, vision.normEps);
  for (let layer = 0; layer < vision.runLayers; layer++) {
    x = g.scope(`layers.${layer}`, () => encoderLayer(g, w, vision, x, `${TOWER}.encoder.layers.${layer}`));
  }
  return vision.dropClassToken ? g.slice(x, 1, 1, vision.numVisualFeatures + 1) : x;
}

/** Patches by a strided convolution, a class token before them, a learned position each: [batch, patches + 1, hidden]. */
function embedPatches(g: GraphBuilder, w: WeightSource, vision: VisionSpec, pixels: Value): Value {
  const { hiddenSize, patchSize, channels } = vision;
  const side = Math.floor(vision.imageSize / patchSize);
  const kernel = w.get(g, `${TOWER}.embeddings.patch_embedding.weight`, [hiddenSize, channels, patchSize, patchSize]);
  const grid = g.node(
    "Conv",
    [pixels, kernel],
    { dtype: pixels.dtype, shape: ["batch", hiddenSize, side, side] },
    { strides: { ints: [patchSize, patchSize] }, kernel_shape: { ints: [patchSize, patchSize] } },
  );
  const patches = g.transpose(g.reshape(grid, ["batch", hiddenSize, side * side]), [0, 2, 1]);
  const classShape = g.concat([g.sizeOf(pixels, 0), g.int64s([1, hiddenSize])], 0);
  const classToken = g.expand(w.get(g, `${TOWER}.embeddings.class_embedding`, [hiddenSize]), classShape, [
    "batch",
    1,
    hiddenSize,
  ]);
  const positions = w.get(g, `${TOWER}.embeddings.position_embedding.weight`, [side * side + 1, hiddenSize]);
  return g.add(g.concat([classToken, patches], 1), positions);
}

function encoderLayer(g: GraphBuilder, w: WeightSource, vision: VisionSpec, x: Value, name: string): Value {
  const { hiddenSize, intermediateSize, activation, normEps } = vision;
  const normed = layerNorm(g, w, x, `${name}.layer_norm1`, normEps);
  const middle = g.add(
    x,
    g.scope("attention", () => fullAttention(g, w, vision, normed, `${name}.self_attn`)),
  );
  const normedMiddle = layerNorm(g, w, middle, `${name}.layer_norm2`, normEps);
  const fed = g.scope("mlp", () => {
    const up = linear(g, w, normedMiddle, `${name}.mlp.fc1`, { in: hiddenSize, out: intermediateSize, bias: true });
    return linear(g, w, activate(g, up, activation), `${name}.mlp.fc2`, {
      in: intermediateSize,
      out: hiddenSize,
      bias: true,
    });
  });
  return g.add(middle, fed);
}

function fullAttention(g: GraphBuilder, w: WeightSource, vision: VisionSpec, x: Value, name: string): Value {
  const headDim = vision.hiddenSize / vision.heads;
  const square = { in: vision.hiddenSize, out: vision.hiddenSize, bias: true };
  const [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(part =>
    splitHeads(g, linear(g, w, x, `${name}.${part}`, square), vision.heads, headDim),
  ) as [Value, Value, Value];
  return linear(g, w, mergeHeads(g, attention(g, q, k, v, headDim ** -0.5)), `${name}.out_proj`, square);
}

function project(g: GraphBuilder, w: WeightSource, projector: ProjectorSpec, features: Value): Value {
  const { inputSize, hiddenSize, outputSize, bias } = projector;
  const hidden = linear(g, w, features, "multi_modal_projector.linear_1", { in: inputSize, out: hiddenSize, bias });
  return linear(g, w, activate(g, hidden, projector.activation), "multi_modal_projector.linear_2", {
    in: hiddenSize,
    out: outputSize,
    bias,
  });
}
