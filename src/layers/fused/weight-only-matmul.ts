import type { Attribute, Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const WEIGHT_ONLY_MATMUL: FusedOp = {
  name: "WeightOnlyMatmul",
  version: "1",
  inputs: ["x", "weight", "scale", "bias"],
  outputs: ["y"],
};

/**
 * x · (codes × scale): codes int8 or int4 [k, n], scale [k / group_size, n] for groups of rows. `weight` gives the codes'
 * values in standard operators, with the group's size as the node has it. undefined where the graph has no such node.
 */
export function pluginWeightOnly(
  g: GraphBuilder,
  x: Value,
  codes: Value,
  scale: Value,
  weight: (g: GraphBuilder, codes: Value, scale: Value, groupSize: Attribute) => Value,
): Value | undefined {
  const [k, n] = codes.shape as [number, number];
  const groupSize = k / (dimOf(scale, 0) as number);
  if (!isHalf(x) || !fits(groupSize, n)) return undefined;
  const [y] =
    fused(g, WEIGHT_ONLY_MATMUL, {
      // Added behind the product: a bias is whole on every rank, and partial products are summed before it.
      inputs: { x, weight: codes, scale, bias: x.dtype },
      outputs: [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), n] }],
      attributes: { group_size: { int: groupSize } },
      body(b, inputs, attributes) {
        const [input, rows, scales, bias] = WEIGHT_ONLY_MATMUL.inputs.map(name => inputs[name] as Value) as [
          Value,
          Value,
          Value,
          Value,
        ];
        return [b.add(b.matmul(input, weight(b, rows, scales, attributes.group_size as Attribute)), bias)];
      },
    }) ?? [];
  return y;
}

/** plugin.yaml: a tensor-core step of 16 rows has one scale, and a copy of 16 bytes holds 32 INT4 codes of a row. */
export function fits(groupSize: number, n: number): boolean {
  return groupSize % 16 === 0 && n % 32 === 0;
}
