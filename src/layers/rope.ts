import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import type { Dtype } from "../tensor/index.ts";
import type { DynamicScaling, RopeFrequencies } from "./rope-scaling.ts";

/** Angles of rotary position embedding: table row p, column i holds p · frequency(i). */
export interface RopeTables {
  readonly cos: Value;
  readonly sin: Value;
}

/**
 * cos and sin of position × frequency for the positions in use, [batch, seq, head_dim/2]: computed in the graph,
 * because a stored table would be megabytes at long context. Angles are float32; the result is rounded to the model's
 * dtype before rotating, as Hugging Face does. With `axes` a token has several positions, [axes, batch, seq], and axes[i] is the one that
 * turns pair i.
 */
export function ropeTables(
  g: GraphBuilder,
  positionIds: Value,
  rope: RopeFrequencies,
  dtype: Dtype,
  axes?: readonly number[],
): RopeTables {
  return g.scope("rope", () => {
    const float = g.cast(positionIds, "float32");
    // A look-up and no product with ones and zeros: TensorRT may round the factors of a product to 10 bits.
    const positions =
      axes === undefined
        ? g.unsqueeze(float, [2])
        : g.gather(g.transpose(float, [1, 2, 0]), g.int32s(axes, [axes.length]), 2);
    const angle = g.multiply(positions, frequenciesOf(g, positions, rope));
    const table = (op: "Cos" | "Sin"): Value => {
      const turned = g.node(op, [angle], angle);
      const scaled =
        rope.attentionFactor === 1 ? turned : g.multiply(turned, g.scalar(rope.attentionFactor, "float32"));
      return g.cast(scaled, dtype);
    };
    return { cos: table("Cos"), sin: table("Sin") };
  });
}

/** How positions of several axes share the pairs of channels of a head (M-RoPE). */
export interface RopeSections {
  /** Pairs of each axis: temporal, height, width. */
  readonly sections: readonly number[];
  /** Pair i is of axis i mod 3 as long as that axis has pairs left, and temporal after that; else each axis has a run of pairs. */
  readonly interleaved: boolean;
}

/** The axis of each of `pairs` pairs of channels. */
export function axesOfPairs({ sections, interleaved }: RopeSections, pairs: number): readonly number[] {
  if (!interleaved) return sections.flatMap((size, axis) => Array<number>(size).fill(axis));
  return Array.from({ length: pairs }, (_, i) => (Math.floor(i / 3) < (sections[i % 3] ?? 0) ? i % 3 : 0));
}

/**
 * Frequencies of this step, [1, 1, d/2]. Where they depend on the length it is the longest of the batch, as in Hugging
 * Face, and each step's new keys get the step's own.
 */
function frequenciesOf(g: GraphBuilder, positions: Value, { frequencies, beyond }: RopeFrequencies): Value {
  const constant = (values: Float32Array): Value => g.floats(values, [1, 1, values.length], "float32");
  const plain = constant(frequencies);
  if (beyond === undefined) return plain;
  const last = g.node("ReduceMax", [positions], { dtype: "float32", shape: [1, 1, 1] }, { keepdims: { int: 1 } });
  const length = g.add(last, g.scalar(1, "float32"));
  if (beyond.kind === "dynamic") return g.multiply(plain, dynamicStretch(g, length, frequencies.length, beyond));
  const further = g.less(g.scalar(beyond.trained, "float32"), length);
  return g.where(further, constant(beyond.frequencies), plain);
}

/**
 * What frequency i is multiplied by, [1, 1, d/2]. The base theta becomes theta · r^(d/(d−2)) with
 * r = factor · length / trained − (factor − 1), so theta^(−2i/d) is multiplied by r^(−2i/(d−2)); r is 1 up to the
 * trained length.
 */
function dynamicStretch(g: GraphBuilder, length: Value, half: number, { factor, trained }: DynamicScaling): Value {
  const float = (value: number): Value => g.scalar(value, "float32");
  const stretched = g.maximum(length, float(trained));
  const ratio = g.subtract(g.multiply(stretched, float(factor / trained)), float(factor - 1));
  // A single pair of channels has frequency 1 whatever the base.
  const exponents = Float32Array.from({ length: half }, (_, i) => (half === 1 ? 0 : -i / (half - 1)));
  return g.node("Pow", [ratio, g.floats(exponents, [1, 1, half], "float32")], {
    dtype: "float32",
    shape: [1, 1, half],
  });
}

/**
 * (x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin) for the halves of each head: x [batch, heads, seq, head_dim], tables
 * [batch, seq, head_dim/2]. Narrower tables rotate the first channels of a head and leave the others.
 */
export function applyRope(g: GraphBuilder, x: Value, tables: RopeTables): Value {
  const [rotated, headDim] = [2 * (dimOf(tables.cos, 2) as number), dimOf(x, 3) as number];
  if (rotated < headDim) {
    const [first, rest] = g.split(x, [rotated, headDim - rotated], 3) as [Value, Value];
    return g.concat([applyRope(g, first, tables), rest], 3);
  }
  if (g.dialect.rotaryEmbedding)
    return g.node("RotaryEmbedding", [x, tables.cos, tables.sin], x, { interleaved: { int: 0 } });
  return rotateHalves(g, x, g.unsqueeze(tables.cos, [1]), g.unsqueeze(tables.sin, [1]));
}

/** The same of any layout with the channels of a head last: cos and sin broadcast to half of x. */
export function rotateHalves(g: GraphBuilder, x: Value, cos: Value, sin: Value): Value {
  const half = (dimOf(x, 3) as number) / 2;
  const [a, b] = g.split(x, [half, half], 3) as [Value, Value];
  const first = g.subtract(g.multiply(a, cos), g.multiply(b, sin));
  return g.concat([first, g.add(g.multiply(b, cos), g.multiply(a, sin))], 3);
}
