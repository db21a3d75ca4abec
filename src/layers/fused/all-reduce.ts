import type { Value } from "../../graph/graph.ts";
import type { GraphBuilder } from "../../graph/ops.ts";
import { type FusedOp, fused } from "./op.ts";

export const ALL_REDUCE: FusedOp = { name: "AllReduce", version: "1", inputs: ["x"], outputs: ["y"] };

/** Ranks of a group (native-plugins/common/group.h). */
export const MOST_RANKS = 8;

/**
 * The sum over the ranks of the group that this rank's device has joined before it runs; `standard` is the same by TensorRT's
 * collective. undefined where the graph has no such node.
 */
export function pluginAllReduce(
  g: GraphBuilder,
  x: Value,
  standard: (g: GraphBuilder, x: Value) => Value,
): Value | undefined {
  const [y] =
    fused(g, ALL_REDUCE, {
      inputs: { x },
      outputs: [x],
      // A device is in one group: its pipeline stage's.
      attributes: { group: { int: 0 } },
      body: (b, inputs) => [standard(b, inputs.x as Value)],
    }) ?? [];
  return y;
}
