import { addDims, multiplyDims } from "../../graph/dim.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { dimOf, GraphBuilder } from "../../graph/ops.ts";
import { activate } from "../../layers/activation.ts";
import { encoderPlugins } from "../../layers/fused/bert-attention.ts";
import { linear } from "../../layers/linear.ts";
import { layerNorm, rmsNorm } from "../../layers/norm.ts";
import { type PackedAttention, packedAttention } from "../../layers/packed-attention.ts";
import { type RopeTables, ropeTables, rotateHalves } from "../../layers/rope.ts";
import { ropeFrequencies } from "../../layers/rope-scaling.ts";
import { WeightSource } from "../../layers/weights.ts";
import type { GraphOptions } from "../architecture.ts";
import type { ModelSpec, PackedVisionSpec } from "../spec.ts";
import {
  deepstackMerger,
  MAIN_MERGER,
  type Merger,
  PACKED,
  PACKED_EPS,
  PACKED_TOWERS,
  patchesPerFeature,
  patchValues,
} from "./packed-vit.ts";

/** Everything a layer needs besides its input. */
interface Context {
  readonly g: GraphBuilder;
  readonly w: WeightSource;
  readonly vision: PackedVisionSpec;
  /** Of each patch, [1, patches, 1, head_dim / 2]. */
  readonly rope: RopeTables;
  /** Attention within the picture, or within the window where the layer has windows. */
  attend(layer: number, call: PackedAttention): Value;
}

/**
 * Packed patches `input` [patches, channels × frames × patch²] of all pictures of a call → `output` [features, llm_hidden], and `deepstack`
 * [levels, features, llm_hidden] where the model has it. The other inputs are tables of the pictures' sizes: docs/internals/graph-contract.md.
 */
export function packedVisualGraph({ architecture, packedVision: vision }: ModelSpec, options: GraphOptions): Graph {
  if (vision === undefined) throw new Error(`${architecture} has no encoder of packed patches`);
  const g = new GraphBuilder("visual", options.dialect, encoderPlugins(options.plugins));
  const w = new WeightSource(options.weightDtype, options.computeDtype);
  const patches = multiplyDims("features", patchesPerFeature(vision));
  const rows = g.input("input", options.computeDtype, [patches, patchValues(vision)]);
  const positions = g.input("patch_positions", "int32", [patches, 2]);
  const attend = attentionOf(g, vision);
  const order = vision.windows && g.input("window_order", "int32", ["features"]);
  const embedded = g.scope("embeddings", () => embedPatches(g, w, vision, rows));
  const context: Context = { g, w, vision, rope: g.scope("rope", () => gridTables(g, vision, positions)), attend };
  const levels: Value[] = [];
  let x = embedded;
  for (let layer = 0; layer < vision.layers; layer++) {
    x = g.scope(`layers.${layer}`, () => encoderLayer(context, x, layer));
    const level = vision.deepstackLayers?.indexOf(layer) ?? -1;
    if (level >= 0) levels.push(g.scope(`deepstack.${level}`, () => merge(context, x, deepstackMerger(level))));
  }
  const merged = g.scope("projector", () => merge(context, g.tap("vision", x), MAIN_MERGER));
  const ordered = order === undefined ? merged : g.gather(merged, order, 1);
  g.output(g.tap("projector", g.reshape(ordered, ["features", vision.outputSize])), "output");
  if (levels.length > 0) g.output(g.concat(levels, 0), "deepstack");
  return g.finish();
}

/** Every picture's rows see each other; with windows, those of a window in most layers. */
function attentionOf(g: GraphBuilder, { windows, mergeSize }: PackedVisionSpec): Context["attend"] {
  const starts = g.input("cu_seqlens", "int32", [addDims("frames", 1)]);
  const whole = packedAttention(g, { starts });
  if (windows === undefined) return (_, call) => whole(call);
  const windowStarts = g.input("cu_window_seqlens", "int32", [addDims("windows", 1)]);
  const within = packedAttention(g, { starts: windowStarts, longest: (windows.edge * mergeSize) ** 2 });
  return (layer, call) => (windows.fullLayers.includes(layer) ? whole : within)(call);
}

/** One product: the kernel of the convolution is as large as its step, so each patch meets it once. [1, patches, hidden]. */
function embedPatches(g: GraphBuilder, w: WeightSource, vision: PackedVisionSpec, rows: Value): Value {
  const { kind, hiddenSize, channels, temporalPatchSize, patchSize } = vision;
  const name = `${PACKED}.patch_embed.proj`;
  const kernel = w.get(g, `${name}.weight`, [hiddenSize, channels, temporalPatchSize, patchSize, patchSize]);
  const flat = g.transpose(g.reshape(kernel, [hiddenSize, patchValues(vision)]), [1, 0]);
  const product = g.matmul(g.unsqueeze(rows, [0]), flat);
  const patches = PACKED_TOWERS[kind].patchBias ? g.add(product, w.get(g, `${name}.bias`, [hiddenSize])) : product;
  const { tableSide } = vision;
  return tableSide === undefined ? patches : g.add(patches, stretchedTable(g, w, vision, tableSide, dimOf(rows, 0)));
}

/** A learned position of each patch, the weighted sum of four entries of the table, in float32: [1, patches, hidden]. */
function stretchedTable(
  g: GraphBuilder,
  w: WeightSource,
  { hiddenSize }: PackedVisionSpec,
  side: number,
  patches: ReturnType<typeof dimOf>,
): Value {
  const entries = g.input("table_rows", "int32", [patches, 4]);
  const weights = g.input("table_weights", "float32", [patches, 4]);
  const table = w.get(g, `${PACKED}.pos_embed.weight`, [side ** 2, hiddenSize]);
  const weighted = g.multiply(g.cast(g.gather(table, entries), "float32"), g.unsqueeze(weights, [2]));
  const sum = g.node(
    "ReduceSum",
    [weighted, g.int64s([1])],
    { dtype: "float32", shape: [patches, hiddenSize] },
    { keepdims: { int: 0 } },
  );
  return g.unsqueeze(g.cast(sum, table.dtype), [0]);
}

/** Rows turn the first half of the pairs of a head, columns the second, by the same frequencies; float32, as transformers turns them. */
function gridTables(g: GraphBuilder, { hiddenSize, heads, ropeTheta }: PackedVisionSpec, positions: Value): RopeTables {
  const headDim = hiddenSize / heads;
  const { frequencies } = ropeFrequencies(headDim / 2, ropeTheta, 1);
  const both = Float32Array.from(
    { length: 2 * frequencies.length },
    (_, i) => frequencies[i % frequencies.length] as number,
  );
  const rope = { frequencies: both, attentionFactor: 1 };
  const axes = [0, 1].flatMap(axis => Array<number>(frequencies.length).fill(axis));
  const { cos, sin } = ropeTables(g, g.unsqueeze(g.transpose(positions, [1, 0]), [1]), rope, "float32", axes);
  return { cos: g.unsqueeze(cos, [2]), sin: g.unsqueeze(sin, [2]) };
}

/** Pre-norm transformer layer. */
function encoderLayer(c: Context, x: Value, layer: number): Value {
  const { g } = c;
  const name = `${PACKED}.blocks.${layer}`;
  const seen = g.scope("attention", () => selfAttention(c, norm(c, x, `${name}.norm1`), layer, `${name}.attn`));
  const middle = g.add(x, seen);
  return g.add(
    middle,
    g.scope("mlp", () => feedForward(c, norm(c, middle, `${name}.norm2`), `${name}.mlp`)),
  );
}

function norm({ g, w, vision }: Context, x: Value, name: string): Value {
  return (PACKED_TOWERS[vision.kind].norm === "rms" ? rmsNorm : layerNorm)(g, w, x, name, PACKED_EPS);
}

function selfAttention({ g, w, vision, rope, attend }: Context, x: Value, layer: number, name: string): Value {
  const { hiddenSize: hidden, heads } = vision;
  const qkv = linear(g, w, x, `${name}.qkv`, { in: hidden, out: 3 * hidden, bias: true });
  const [q, k, v] = g.split(qkv, [hidden, hidden, hidden], 2) as [Value, Value, Value];
  const turned = (part: Value): Value => {
    const split = g.cast(g.reshape(part, [1, dimOf(x, 1), heads, hidden / heads]), "float32");
    return g.reshape(g.cast(rotateHalves(g, split, rope.cos, rope.sin), x.dtype), x.shape);
  };
  const y = attend(layer, { q: turned(q), k: turned(k), v, heads, scale: (hidden / heads) ** -0.5 });
  return linear(g, w, y, `${name}.proj`, { in: hidden, out: hidden, bias: true });
}

function feedForward({ g, w, vision }: Context, x: Value, name: string): Value {
  const { kind, hiddenSize: hidden, intermediateSize: inner, activation } = vision;
  const [first, second, third] = PACKED_TOWERS[kind].mlp;
  const up = (product: string): Value => linear(g, w, x, `${name}.${product}`, { in: hidden, out: inner, bias: true });
  const activated = activate(g, up(first), activation);
  const product = third === undefined ? activated : g.multiply(activated, up(second));
  return linear(g, w, product, `${name}.${third ?? second}`, { in: inner, out: hidden, bias: true });
}

/** The patches of each feature side by side, a norm before or after that, two products: [1, patches, hidden] → [1, features, llm_hidden]. */
function merge(c: Context, x: Value, { name, normsFeature }: Merger): Value {
  const { g, w, vision } = c;
  const { norm: normName, products } = PACKED_TOWERS[vision.kind].merger;
  const wide = vision.hiddenSize * patchesPerFeature(vision);
  const beside = (patches: Value): Value => g.reshape(patches, [1, "features", wide]);
  const normed = (value: Value): Value => norm(c, value, `${name}.${normName}`);
  const features = normsFeature ? normed(beside(x)) : beside(normed(x));
  const inner = linear(g, w, features, `${name}.${products[0]}`, { in: wide, out: wide, bias: true });
  const sizes = { in: wide, out: vision.outputSize, bias: true };
  return linear(g, w, activate(g, inner, "gelu"), `${name}.${products[1]}`, sizes);
}
