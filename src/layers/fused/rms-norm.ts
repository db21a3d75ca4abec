import type { Attribute, Value } from "../../graph/graph.ts";
import type { GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const RMS_NORM: FusedOp = {
  name: "RmsNorm",
  version: "1",
  inputs: ["x", "gamma", "residual"],
  outputs: ["y", "sum"],
};

/**
 * sum = x + residual and y = norm(sum) in one pass over memory. undefined where the graph has no such node; `norm` is the
 * standard form of the norm itself.
 */
export function pluginRmsNorm(
  g: GraphBuilder,
  x: Value,
  gamma: Value,
  eps: number,
  residual: Value | undefined,
  norm: (g: GraphBuilder, x: Value, gamma: Value, eps: number, epsilon: Attribute) => Value,
): { readonly y: Value; readonly sum: Value } | undefined {
  if (!isHalf(x) || !isNormSize(x)) return undefined;
  const [y, sum] =
    fused(g, RMS_NORM, {
      inputs: { x, gamma, residual: residual ?? x.dtype },
      outputs: [x, x],
      attributes: { eps: { float: eps } },
      body(b, inputs, attributes) {
        const total = b.add(inputs.x as Value, inputs.residual as Value);
        return [norm(b, total, inputs.gamma as Value, eps, attributes.eps as Attribute), total];
      },
    }) ?? [];
  return y === undefined || sum === undefined ? undefined : { y, sum };
}

/** plugin.yaml of both norms: copies of 8 elements, and a block that keeps the row in registers. */
export function isNormSize(x: Value): boolean {
  const size = x.shape.at(-1);
  return typeof size === "number" && size % 8 === 0 && size <= 16384;
}
