import type { WeightRule } from "../models/architecture.ts";
import type { DecoderSpec } from "../models/spec.ts";
import { concatRows, padRows, rowCount, sliceColumns, sliceRows, type TensorRecipe } from "../tensor/index.ts";

/** How the checkpoint is dealt out: rank = pp_rank · tp_size + tp_rank. */
export interface Parallel {
  readonly tpSize: number;
  readonly ppSize: number;
  readonly parallelEmbedding: boolean;
  /** 0: rows of the vocabulary · 1: hidden channels. */
  readonly embeddingShardingDim: 0 | 1;
  /** lm_head is left out of the files and read from the embedding table. */
  readonly shareEmbedding: boolean;
}

/** The part of one tensor that tensor-parallel rank `r` holds. `parts` are the rule's sources, cast already. */
export function shard(
  rule: WeightRule,
  parts: readonly TensorRecipe[],
  r: number,
  spec: DecoderSpec,
  parallel: Parallel,
): TensorRecipe {
  const { tpSize: tp } = parallel;
  const whole = concatRows(parts);
  switch (rule.split) {
    case "replicated":
      return whole;
    case "column":
      return rowsOf(whole, r, tp);
    case "row":
      return columnsOf(whole, r, tp);
    case "qkv":
      return concatRows(
        parts.map((part, i) => headsOf(part, i === 0 ? spec.heads : spec.kvHeads, r, tp, spec.headDim)),
      );
    case "vocab":
      return paddedRowsOf(whole, r, tp);
    case "embedding":
      if (!parallel.parallelEmbedding) return whole;
      return parallel.embeddingShardingDim === 0 ? paddedRowsOf(whole, r, tp) : columnsOf(whole, r, tp);
  }
}

function rowsOf(recipe: TensorRecipe, r: number, tp: number): TensorRecipe {
  const rows = rowCount(recipe.shape) / tp;
  return sliceRows(recipe, r * rows, (r + 1) * rows);
}

function columnsOf(recipe: TensorRecipe, r: number, tp: number): TensorRecipe {
  const columns = (recipe.shape[1] ?? 0) / tp;
  return sliceColumns(recipe, r * columns, (r + 1) * columns);
}

/**
 * Heads are dealt out in order. With fewer heads than ranks each is repeated consecutively (k0 k0 k1 k1), so rank r
 * holds head ⌊r · heads / tp⌋ whole.
 */
function headsOf(recipe: TensorRecipe, heads: number, r: number, tp: number, headDim: number): TensorRecipe {
  if (heads >= tp) return rowsOf(recipe, r, tp);
  const head = Math.floor((r * heads) / tp);
  return sliceRows(recipe, head * headDim, (head + 1) * headDim);
}

/** Padded with zero rows to a multiple of tp before the split, so that row i of the vocabulary stays row i of the joined table. */
function paddedRowsOf(recipe: TensorRecipe, r: number, tp: number): TensorRecipe {
  const rows = rowCount(recipe.shape);
  const share = Math.ceil(rows / tp);
  const start = Math.min(rows, r * share);
  return padRows(sliceRows(recipe, start, Math.min(rows, start + share)), share);
}
