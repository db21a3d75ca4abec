import type { Attribute, Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { type LinearForm, smoothNames } from "../tensor/index.ts";
import { fits, pluginWeightOnly, WEIGHT_ONLY_MATMUL } from "./fused/weight-only-matmul.ts";
import type { WeightSource } from "./weights.ts";

interface Sizes {
  readonly in: number;
  readonly out: number;
}

type Form<K extends LinearForm["kind"]> = Extract<LinearForm, { kind: K }>;

/**
 * x · W for a weight stored as codes, without bias. Every form is symmetric DequantizeLinear before MatMul: the one
 * that TensorRT's parser takes as an initializer and that ONNX Runtime turns into its packed kernels.
 */
export function quantizedProduct(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: Sizes,
  form: Exclude<LinearForm, { kind: "plain" }>,
): Value {
  switch (form.kind) {
    case "channel":
      return channelProduct(g, w, x, name, sizes, form);
    case "group":
      return groupProduct(g, w, x, name, sizes, form);
    case "smooth":
      return smoothProduct(g, w, x, name, sizes, form);
    case "fp8":
      return fp8Product(g, w, x, name, sizes);
  }
}

/** W[k, n] = code[k, n] · scale[n]. [K, N] with the scale on axis 1: the other orientation is dequantized at every call. */
function channelProduct(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  { in: k, out: n }: Sizes,
  { bits, floatWeights }: Form<"channel">,
): Value {
  const codeDtype = bits === 4 ? "int4" : "int8";
  if (g.plugins.has(WEIGHT_ONLY_MATMUL.name) && !floatWeights && fits(k, n)) {
    // To a plugin that is one group of all rows, and its scales are a row.
    const row = w.get(g, `${name}.per_channel_scale`, [1, n]);
    const codes = g.weight(`${name}.weight`, codeDtype, [k, n]);
    return pluginWeightOnly(g, x, codes, row, channelWeight) ?? g.matmul(x, channelWeight(g, codes, row));
  }
  const scale = w.get(g, `${name}.per_channel_scale`, [n]);
  if (floatWeights) return g.matmul(x, roundedWeight(g, w.get(g, `${name}.weight`, [k, n]), scale));
  const codes = g.weight(`${name}.weight`, codeDtype, [k, n]);
  return g.matmul(x, g.dequantize(codes, scale, { axis: 1 }));
}

/** Scales [1, n]. */
function channelWeight(g: GraphBuilder, codes: Value, scales: Value): Value {
  const each = g.node("Squeeze", [scales, g.int64s([0])], { dtype: scales.dtype, shape: scales.shape.slice(1) });
  return g.dequantize(codes, each, { axis: 1 });
}

/**
 * round(W / s) · s within INT8's range, which both engines work out at load. TensorRT-RTX fails on QuantizeLinear of a
 * constant, so the codes stay floats.
 */
function roundedWeight(g: GraphBuilder, weight: Value, scale: Value): Value {
  const codes = g.round(g.divide(g.cast(weight, "float32"), g.cast(scale, "float32")));
  const clipped = g.maximum(g.minimum(codes, g.scalar(127, "float32")), g.scalar(-128, "float32"));
  return g.multiply(g.cast(clipped, weight.dtype), scale);
}

/**
 * W[k, n] = code[k, n] · scale[k / size, n] (+ zero[k / size, n]). Neither engine takes INT4 zero points, so their part
 * of the product is written out: Σ x over a group times the group's zero.
 */
function groupProduct(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  { in: k, out: n }: Sizes,
  { size, zeros, prequant }: Form<"group">,
): Value {
  const input = prequant ? g.multiply(x, w.get(g, `${name}.prequant_scaling_factor`, [k])) : x;
  const scale = w.get(g, `${name}.weights_scaling_factor`, [k / size, n]);
  const codes = g.weight(`${name}.weight`, "int4", [k, n]);
  const weight = (b: GraphBuilder, of: Value, scales: Value, blockSize: Attribute = { int: size }): Value =>
    b.dequantize(of, scales, { axis: 0, blockSize });
  const product = pluginWeightOnly(g, input, codes, scale, weight) ?? g.matmul(input, weight(g, codes, scale));
  if (!zeros) return product;
  const grouped = g.reshape(input, [...input.shape.slice(0, -1), k / size, size]);
  const sums = g.sumLast(grouped);
  return g.add(product, g.matmul(sums, w.get(g, `${name}.zero`, [k / size, n])));
}

/** Powers of two change no digit, and keep sums of 127 · 127 · K products below float16's 65504. */
const UNIT = 2 ** -7;

/**
 * INT8 × INT8: x is brought to codes by its stored scale, or each token by its own largest value; then
 * y = Σ codes · codes × (scales of input and weight), which TensorRT-LLM keeps multiplied together.
 */
function smoothProduct(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  { in: k, out: n }: Sizes,
  { perToken, perChannel }: Form<"smooth">,
): Value {
  const { inputScale, smoother } = smoothNames(name);
  const smooth = smoother === undefined ? x : g.divide(x, w.float32(g, smoother, [1, k]));
  const scales = perChannel || name.endsWith(".qkv") ? n : 1;
  const one = g.scalar(1, w.compute);
  const unit = g.scalar(UNIT, w.compute);
  // The largest code is 127; a token of zeros must not be divided by zero.
  const tokenScale = perToken
    ? g.maximum(g.multiply(g.maxLast(g.absolute(smooth)), g.scalar(1 / 127, w.compute)), g.scalar(1e-6, w.compute))
    : undefined;
  const scaled = tokenScale ? g.divide(smooth, tokenScale) : g.multiply(smooth, w.float32(g, inputScale, [1]));
  const activations = g.dequantize(g.quantize(scaled, one, "int8"), unit);
  const weight = g.dequantize(g.weight(`${name}.weight`, "int8", [n, k]), unit);
  const sum = g.matmul(activations, g.transpose(weight, [1, 0]));
  const channel = g.weight(`${name}.per_channel_scale`, "float32", [1, scales]);
  const stored = tokenScale ? channel : g.multiply(channel, g.weight(`${name}.act_scale`, "float32", [1, 1]));
  const rest = g.cast(g.multiply(stored, g.scalar(UNIT ** -2, "float32")), w.compute);
  return g.multiply(tokenScale ? g.multiply(sum, tokenScale) : sum, rest);
}

/** E4M3 × E4M3, one scale for all inputs and one for all weights. */
function fp8Product(g: GraphBuilder, w: WeightSource, x: Value, name: string, { in: k, out: n }: Sizes): Value {
  const scalar = (part: string): Value => g.reshape(w.float32(g, `${name}.${part}`, [1]), []);
  const inputScale = scalar("activation_scaling_factor");
  const input = g.dequantize(g.quantize(x, inputScale, "float8_e4m3fn"), inputScale);
  const codes = g.weight(`${name}.weight`, "float8_e4m3fn", [n, k]);
  const weight = g.dequantize(codes, scalar("weights_scaling_factor"));
  return g.matmul(input, g.transpose(weight, [1, 0]));
}
