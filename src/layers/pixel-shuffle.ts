import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";

/**
 * Each `factor` × `factor` neighbours of a square grid of patches as one row, row by row: [batch, side², c] → [batch, (side ÷
 * factor)², factor² × c]. `factor` divides `side`.
 */
export function pixelShuffle(g: GraphBuilder, x: Value, factor: number): Value {
  const [rows, c] = [dimOf(x, 1) as number, dimOf(x, 2) as number];
  const side = Math.round(Math.sqrt(rows));
  const fewer = side / factor;
  return g.scope("pixel_shuffle", () => {
    const grid = g.reshape(x, ["batch", fewer, factor, fewer, factor * c]);
    return g.reshape(g.transpose(grid, [0, 1, 3, 2, 4]), ["batch", fewer * fewer, factor * factor * c]);
  });
}
