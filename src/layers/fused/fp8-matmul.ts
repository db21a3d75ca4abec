import type { Value } from "../../graph/graph.ts";
import type { GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const FP8_MATMUL: FusedOp = {
  name: "Fp8Matmul",
  version: "1",
  inputs: ["x", "weight", "input_scale", "weight_scale", "bias"],
  outputs: ["y"],
};

/** Scales float32 [1], codes E4M3 [n, k]; each is asked for where the standard form has it. */
export interface Fp8Operands {
  inputScale(): Value;
  weight(): Value;
  weightScale(): Value;
}

/** x · weightᵀ of E4M3 codes on both sides in standard operators. */
export function fp8(g: GraphBuilder, x: Value, { inputScale, weight, weightScale }: Fp8Operands): Value {
  const scalar = (scale: Value): Value => g.reshape(g.cast(scale, x.dtype), []);
  const ofInput = scalar(inputScale());
  const input = g.dequantize(g.quantize(x, ofInput, "float8_e4m3fn"), ofInput);
  const codes = weight();
  return g.matmul(input, g.transpose(g.dequantize(codes, scalar(weightScale())), [1, 0]));
}

/** The same as one node, x float. undefined where the graph has no such node. */
export function pluginFp8(
  g: GraphBuilder,
  x: Value,
  [n, k]: readonly [number, number],
  operands: Fp8Operands,
): Value | undefined {
  // plugin.yaml: copies of 16 codes, and 8 columns a tensor-core product.
  if (!g.plugins.has(FP8_MATMUL.name) || !isHalf(x) || k % 16 !== 0 || n % 8 !== 0) return undefined;
  const [y] =
    fused(g, FP8_MATMUL, {
      inputs: {
        x,
        weight: operands.weight(),
        input_scale: operands.inputScale(),
        weight_scale: operands.weightScale(),
        bias: x.dtype,
      },
      outputs: [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), n] }],
      attributes: {},
      body(b, inputs) {
        const of = (name: string) => (): Value => inputs[name] as Value;
        const own = { inputScale: of("input_scale"), weight: of("weight"), weightScale: of("weight_scale") };
        return [b.add(fp8(b, inputs.x as Value, own), inputs.bias as Value)];
      },
    }) ?? [];
  return y;
}
