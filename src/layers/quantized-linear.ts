import type { Attribute, Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { type LinearForm, smoothNames } from "../tensor/index.ts";
import { type Fp8Operands, fp8, pluginFp8 } from "./fused/fp8-matmul.ts";
import { pluginSmoothQuant, type SmoothOperands, smoothQuant } from "./fused/smooth-quant-matmul.ts";
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
      return smoothProduct(g, x, name, sizes, form);
    case "fp8":
      return fp8Product(g, x, name, sizes);
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

/**
 * INT8 × INT8: x is brought to codes by its stored scale, or each token by its own largest value; then
 * y = Σ codes · codes × (scales of input and weight), which TensorRT-LLM keeps multiplied together.
 */
function smoothProduct(
  g: GraphBuilder,
  x: Value,
  name: string,
  { in: k, out: n }: Sizes,
  { perToken, perChannel }: Form<"smooth">,
): Value {
  const { inputScale, smoother } = smoothNames(name);
  const scales = perChannel || name.endsWith(".qkv") ? n : 1;
  const operands: SmoothOperands = {
    smoother: smoother === undefined ? undefined : () => g.weight(smoother, "float32", [1, k]),
    inputScale: perToken ? undefined : () => g.weight(inputScale, "float32", [1]),
    weight: () => g.weight(`${name}.weight`, "int8", [n, k]),
    channelScale: () => g.weight(`${name}.per_channel_scale`, "float32", [1, scales]),
    actScale: perToken ? undefined : () => g.weight(`${name}.act_scale`, "float32", [1, 1]),
  };
  return pluginSmoothQuant(g, x, [n, k], operands) ?? smoothQuant(g, x, operands);
}

/** E4M3 × E4M3, one scale for all inputs and one for all weights. */
function fp8Product(g: GraphBuilder, x: Value, name: string, { in: k, out: n }: Sizes): Value {
  const operands: Fp8Operands = {
    inputScale: () => g.weight(`${name}.activation_scaling_factor`, "float32", [1]),
    weight: () => g.weight(`${name}.weight`, "float8_e4m3fn", [n, k]),
    weightScale: () => g.weight(`${name}.weights_scaling_factor`, "float32", [1]),
  };
  return pluginFp8(g, x, [n, k], operands) ?? fp8(g, x, operands);
}
