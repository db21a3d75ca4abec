import type { Value } from "../../graph/graph.ts";
import type { GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const SMOOTH_QUANT_MATMUL: FusedOp = {
  name: "SmoothQuantMatmul",
  version: "1",
  inputs: ["x", "weight", "channel_scale", "bias", "smoother", "input_scale", "act_scale", "token_scale"],
  outputs: ["y"],
};

/** float32 but for the codes; each is asked for where the standard form has it. */
export interface SmoothOperands {
  /** Divides x, [1, k]. */
  readonly smoother: (() => Value) | undefined;
  /** Multiplies x to codes, [1]; absent where each token has its own. */
  readonly inputScale: (() => Value) | undefined;
  /** Codes int8 [n, k]. */
  weight(): Value;
  /** [1, n] or [1, 1]. */
  channelScale(): Value;
  /** What a code of x stands for, [1, 1], where inputScale is one. */
  readonly actScale: (() => Value) | undefined;
}

/** Powers of two change no digit, and keep sums of 127 · 127 · K products below float16's 65504. */
const UNIT = 2 ** -7;

/**
 * INT8 × INT8 in standard operators: x, divided by the smoother, becomes codes by its stored scale, or each token by its own
 * largest value; then y = Σ codes · codes × (scales of input and weight).
 */
export function smoothQuant(g: GraphBuilder, x: Value, operands: SmoothOperands): Value {
  const { smoother, inputScale, weight, channelScale, actScale } = operands;
  const compute = x.dtype;
  const smooth = smoother === undefined ? x : g.divide(x, g.cast(smoother(), compute));
  const one = g.scalar(1, compute);
  const unit = g.scalar(UNIT, compute);
  // The largest code is 127; a token of zeros must not be divided by zero.
  const tokenScale = inputScale
    ? undefined
    : g.maximum(g.multiply(g.maxLast(g.absolute(smooth)), g.scalar(1 / 127, compute)), g.scalar(1e-6, compute));
  const scaled = tokenScale
    ? g.divide(smooth, tokenScale)
    : g.multiply(smooth, g.cast((inputScale as () => Value)(), compute));
  const activations = g.dequantize(g.quantize(scaled, one, "int8"), unit);
  const sum = g.matmul(activations, g.transpose(g.dequantize(weight(), unit), [1, 0]));
  const channel = channelScale();
  const stored = actScale ? g.multiply(channel, actScale()) : channel;
  const rest = g.cast(g.multiply(stored, g.scalar(UNIT ** -2, "float32")), compute);
  return g.multiply(tokenScale ? g.multiply(sum, tokenScale) : sum, rest);
}

/**
 * The same as one node, x float: its codes are the plugin's own affair. Products with a smoother and without one share the
 * body, in which a left-out smoother is 1. undefined where the graph has no such node.
 */
export function pluginSmoothQuant(
  g: GraphBuilder,
  x: Value,
  [n, k]: readonly [number, number],
  { smoother, inputScale, weight, channelScale, actScale }: SmoothOperands,
): Value | undefined {
  // plugin.yaml: copies of 16 codes, and 8 columns a tensor-core product.
  if (!g.plugins.has(SMOOTH_QUANT_MATMUL.name) || !isHalf(x) || k % 16 !== 0 || n % 8 !== 0) return undefined;
  const factor = { dtype: "float32", neutral: 1 } as const;
  const [y] =
    fused(g, SMOOTH_QUANT_MATMUL, {
      inputs: {
        x,
        weight: weight(),
        channel_scale: channelScale(),
        bias: x.dtype,
        smoother: smoother?.() ?? factor,
        input_scale: inputScale?.() ?? factor,
        act_scale: actScale?.() ?? factor,
        token_scale: factor,
      },
      outputs: [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), n] }],
      attributes: {},
      body(b, inputs) {
        const of = (name: string) => (): Value => inputs[name] as Value;
        const product = smoothQuant(b, inputs.x as Value, {
          smoother: of("smoother"),
          inputScale: inputScale && of("input_scale"),
          weight: of("weight"),
          channelScale: of("channel_scale"),
          actScale: actScale && of("act_scale"),
        });
        return [b.add(product, inputs.bias as Value)];
      },
    }) ?? [];
  return y;
}
