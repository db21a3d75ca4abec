import { allReduceFunction } from "../graph/functions.ts";
import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";

/** Sum of x over the tensor-parallel ranks, after a row-parallel product; nothing for one rank. */
export function allReduce(g: GraphBuilder, x: Value, ranks: number): Value {
  if (ranks === 1) return x;
  return g.call(allReduceFunction, [x], x, {
    collective_operation: { text: "all_reduce" },
    reduce_op: { text: "sum" },
    root: { int: -1 },
    nb_rank: { int: ranks },
    group_size: { int: ranks },
  });
}
