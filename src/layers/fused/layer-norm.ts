import type { Attribute, Value } from "../../graph/graph.ts";
import type { GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";
import { isNormSize } from "./rms-norm.ts";

export const LAYER_NORM: FusedOp = {
  name: "LayerNorm",
  version: "1",
  inputs: ["x", "gamma", "beta", "residual"],
  outputs: ["y", "sum"],
};

export interface LayerNormWeights {
  readonly gamma: Value;
  readonly beta: Value;
}

/**
 * sum = x + residual and y = norm(sum) in one pass over memory. undefined where the graph has no such node; `norm` is the
 * standard form of the norm itself.
 */
export function pluginLayerNorm(
  g: GraphBuilder,
  x: Value,
  { gamma, beta }: LayerNormWeights,
  eps: number,
  residual: Value | undefined,
  norm: (g: GraphBuilder, x: Value, weights: LayerNormWeights, epsilon: Attribute) => Value,
): { readonly y: Value; readonly sum: Value } | undefined {
  if (!isHalf(x) || !isNormSize(x)) return undefined;
  const [y, sum] =
    fused(g, LAYER_NORM, {
      inputs: { x, gamma, beta, residual: residual ?? x.dtype },
      outputs: [x, x],
      attributes: { eps: { float: eps } },
      body(b, inputs, attributes) {
        const total = b.add(inputs.x as Value, inputs.residual as Value);
        const weights = { gamma: inputs.gamma as Value, beta: inputs.beta as Value };
        return [norm(b, total, weights, attributes.eps as Attribute), total];
      },
    }) ?? [];
  return y === undefined || sum === undefined ? undefined : { y, sum };
}
