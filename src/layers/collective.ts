import { allGatherFunction, allReduceFunction } from "../graph/functions.ts";
import type { Attributes, Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { ALL_REDUCE, pluginAllReduce } from "./fused/all-reduce.ts";

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
  if (group.size === 1) return x;
  const standard = (b: GraphBuilder, part: Value): Value =>
    b.call(allReduceFunction, [part], part, attributesOf("all_reduce", "sum", group));
  return pluginAllReduce(g, x, standard) ?? standard(g, x);
}

/**
 * The ranks' shares of the last axis side by side: [batch, …, n] → [batch, …, size · n]. TensorRT gathers on the first
 * axis alone, so that the ranks are an axis of their own there.
 */
export function allGather(g: GraphBuilder, x: Value, group: TpGroup): Value {
  if (group.size === 1) return x;
  const share = dimOf(x, -1) as number;
  if (g.plugins.has(ALL_REDUCE.name)) return allReduce(g, amongZeros(g, x, share, group), group);
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

/** This rank's share in its place, zeros in the others': a sum of these is the shares side by side, and every TensorRT has it. */
function amongZeros(g: GraphBuilder, x: Value, share: number, { size, index }: TpGroup): Value {
  const none = new Array<number>(x.shape.length - 1).fill(0);
  return g.pad(x, [...none, index * share], [...none, (size - 1 - index) * share]);
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
