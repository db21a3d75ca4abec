import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import type { WeightSource } from "./weights.ts";

/** y = x · Wᵀ (+ b) for W stored [out, in] as Hugging Face keeps it; both engines fold the transpose into the product. */
export function linear(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  sizes: { in: number; out: number; bias?: boolean },
): Value {
  const weight = w.get(g, `${name}.weight`, [sizes.out, sizes.in]);
  const y = g.matmul(x, g.transpose(weight, [1, 0]));
  return sizes.bias ? g.add(y, w.get(g, `${name}.bias`, [sizes.out])) : y;
}
