import { allGatherFunction, allReduceFunction } from "../graph/functions.ts";
import type { Attributes, Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";

/** The tensor-parallel ranks of one pipeline stage, as one of them sees them. */
export interface TpGroup {
  readonly size: number;
  /** Which of them this rank is, from 0. */
  readonly index: number;
  /** Their global ranks; undefined where they are all there are. */
  readonly members: readonly number[] | undefined;
}

/** rank = pp_rank · tp_size + tp_rank. */
export function tpGroup(tpSize: number, ppSize: number, rank: number): TpGroup {
  const index = rank % tpSize;
  const members = ppSize === 1 ? undefined : Array.from({ length: tpSize }, (_, i) => rank - index + i);
  return { size: tpSize, index, members };
}

/** Sum of x over the tensor-parallel ranks, after a row-parallel product; nothing for one rank. */
export function allReduce(g: GraphBuilder, x: Value, group: TpGroup): Value {
  return group.size === 1 ? x : g.call(allReduceFunction, [x], x, attributesOf("all_reduce", "sum", group));
}

/**
 * The ranks' shares of the last axis side by side: [batch, …, n] → [batch, …, size · n]. TensorRT gathers on the first
 * axis alone, so that the ranks are an axis of their own there.
 */
export function allGather(g: GraphBuilder, x: Value, group: TpGroup): Value {
  if (group.size === 1) return x;
  const share = dimOf(x, -1) as number;
  const stacked = g.call(
    allGatherFunction(group.size),
    [g.unsqueeze(x, [0])],
    { dtype: x.dtype, shape: [group.size, ...x.shape] },
    attributesOf("all_gather", "none", group),
  );
  const last = x.shape.length;
  const leading = x.shape.slice(0, -1);
  const beside = g.transpose(stacked, [...leading.map((_, axis) => axis + 1), 0, last]);
  return g.reshape(beside, [...leading, group.size * share]);
}

/** Without a list of groups all ranks take part, and TensorRT's parser refuses a group's size. */
function attributesOf(operation: "all_reduce" | "all_gather", reduce: "sum" | "none", group: TpGroup): Attributes {
  return {
    collective_operation: { text: operation },
    reduce_op: { text: reduce },
    root: { int: -1 },
    nb_rank: { int: group.size },
    ...(group.members && { groups: { ints: group.members }, group_size: { int: group.size } }),
  };
}
