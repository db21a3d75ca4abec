import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const GEMM: FusedOp = { name: "Gemm", version: "1", inputs: ["x", "weight", "bias"], outputs: ["y"] };

/** x · weightᵀ (+ bias) for a weight [n, k] as the checkpoint stores it. undefined where the graph has no such node. */
export function pluginGemm(g: GraphBuilder, x: Value, weight: Value, bias?: Value): Value | undefined {
  const [n, k] = [dimOf(weight, 0), dimOf(weight, 1) as number];
  // plugin.yaml: a copy of 16 bytes holds 8 elements of a row.
  if (!isHalf(x) || k % 8 !== 0) return undefined;
  const [y] =
    fused(g, GEMM, {
      inputs: { x, weight, bias: bias ?? x.dtype },
      outputs: [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), n] }],
      attributes: {},
      body: (b, { x: input, weight: rows, bias: added }) => [
        b.add(b.matmul(input as Value, b.transpose(rows as Value, [1, 0])), added as Value),
      ],
    }) ?? [];
  return y;
}
