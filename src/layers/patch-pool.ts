import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";

/** The mean of each `factor` × `factor` neighbours of a square grid of patches: [batch, side², c] → [batch, (side ÷ factor)², c]. `factor` divides `side`. */
export function patchPool(g: GraphBuilder, x: Value, factor: number): Value {
  const [rows, c] = [dimOf(x, 1) as number, dimOf(x, 2) as number];
  const side = Math.round(Math.sqrt(rows));
  const fewer = side / factor;
  return g.scope("patch_pool", () => {
    const grid = g.reshape(g.transpose(x, [0, 2, 1]), ["batch", c, side, side]);
    const edges = { ints: [factor, factor] };
    const pooled = g.node(
      "AveragePool",
      [grid],
      { dtype: x.dtype, shape: ["batch", c, fewer, fewer] },
      { kernel_shape: edges, strides: edges },
    );
    return g.transpose(g.reshape(pooled, ["batch", c, fewer * fewer]), [0, 2, 1]);
  });
}
