import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import type { Dtype } from "../tensor/index.ts";

/** Angles of rotary position embedding: table row p, column i holds p · frequency(i). */
export interface RopeTables {
  readonly cos: Value;
  readonly sin: Value;
}

/**
 * Inverse frequencies theta^(−2i/d), i < d/2, with Hugging Face's scaling applied; float32 steps as PyTorch takes them.
 * Sources: RoFormer (2104.09864); linear: positions divided by `factor`; llama3: Llama 3.1's smooth low/high split.
 */
export function inverseFrequencies(
  headDim: number,
  theta: number,
  scaling?: { readonly type: string; readonly factor: number; readonly parameters: Readonly<Record<string, unknown>> },
): Float32Array {
  const f = Math.fround;
  const plain = Float32Array.from({ length: headDim / 2 }, (_, i) => f(1 / f(theta ** f((2 * i) / headDim))));
  // dynamic: these up to the trained length; the graph stretches them beyond it.
  if (scaling === undefined || scaling.type === "dynamic") return plain;
  if (scaling.type === "linear") return plain.map(x => f(x / scaling.factor));
  if (scaling.type === "llama3") return plain.map(x => llama3Frequency(x, scaling.factor, scaling.parameters));
  throw new Error(`rope scaling ${scaling.type} has no static table`);
}

/** Wavelengths beyond the trained context are divided by `factor`, short ones kept, a linear blend between. */
function llama3Frequency(frequency: number, factor: number, parameters: Readonly<Record<string, unknown>>): number {
  const original = parameters.original_max_position_embeddings as number;
  const low = parameters.low_freq_factor as number;
  const high = parameters.high_freq_factor as number;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > original / low) return frequency / factor;
  if (wavelength < original / high) return frequency;
  const smooth = (original / wavelength - low) / (high - low);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/**
 * cos and sin of position × inverse frequency for the positions in use, [batch, seq, head_dim/2]: computed in the graph,
 * because a stored table would be megabytes at long context. Angles are float32; the result is rounded to the model's
 * dtype before rotating, as Hugging Face does.
 */
export function ropeTables(
  g: GraphBuilder,
  positionIds: Value,
  frequencies: Float32Array,
  dtype: Dtype,
  dynamic?: DynamicScaling,
): RopeTables {
  return g.scope("rope", () => {
    const positions = g.unsqueeze(g.cast(positionIds, "float32"), [2]);
    const plain = g.floats(frequencies, [1, 1, frequencies.length], "float32");
    const scaled = dynamic === undefined ? plain : g.multiply(plain, dynamicStretch(g, positions, plain, dynamic));
    const angle = g.multiply(positions, scaled);
    return { cos: g.cast(g.node("Cos", [angle], angle), dtype), sin: g.cast(g.node("Sin", [angle], angle), dtype) };
  });
}

/** Dynamic NTK scaling: nothing up to `trained` positions, then a base that grows with the sequence. */
export interface DynamicScaling {
  readonly factor: number;
  readonly trained: number;
}

/**
 * What frequency i is multiplied by, [1, 1, d/2]. The base theta becomes theta · r^(d/(d−2)) with
 * r = factor · length / trained − (factor − 1), so theta^(−2i/d) is multiplied by r^(−2i/(d−2)); r is 1 up to the
 * trained length. The length is the longest of the batch, as in Hugging Face, and each step's new keys get the step's own.
 */
function dynamicStretch(g: GraphBuilder, positions: Value, plain: Value, { factor, trained }: DynamicScaling): Value {
  const last = g.node("ReduceMax", [positions], { dtype: "float32", shape: [1, 1, 1] }, { keepdims: { int: 1 } });
  const float = (value: number): Value => g.scalar(value, "float32");
  const length = g.maximum(g.add(last, float(1)), float(trained));
  const ratio = g.subtract(g.multiply(length, float(factor / trained)), float(factor - 1));
  const half = dimOf(plain, 2) as number;
  // A single pair of channels has frequency 1 whatever the base.
  const exponents = Float32Array.from({ length: half }, (_, i) => (half === 1 ? 0 : -i / (half - 1)));
  return g.node("Pow", [ratio, g.floats(exponents, [1, 1, half], "float32")], plain);
}

/** (x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin) for the halves of each head: x [batch, heads, seq, head_dim], tables [batch, seq, head_dim/2]. */
export function applyRope(g: GraphBuilder, x: Value, tables: RopeTables): Value {
  if (g.dialect.rotaryEmbedding)
    return g.node("RotaryEmbedding", [x, tables.cos, tables.sin], x, { interleaved: { int: 0 } });
  const half = (dimOf(x, 3) as number) / 2;
  const [a, b] = g.split(x, [half, half], 3) as [Value, Value];
  const cos = g.unsqueeze(tables.cos, [1]);
  const sin = g.unsqueeze(tables.sin, [1]);
  const first = g.subtract(g.multiply(a, cos), g.multiply(b, sin));
  return g.concat([first, g.add(g.multiply(b, cos), g.multiply(a, sin))], 3);
}
