import type { WeightRule } from "../models/architecture.ts";
import type { DecoderSpec } from "../models/spec.ts";
import type { KeptBytes } from "../quantize/kept.ts";
import { mapPlanes, sliceInputs, sliceOutputs, stackOutputs } from "../quantize/packed-codes.ts";
import {
  concatRows,
  type PackedPlanes,
  type Plane,
  padRows,
  rowCount,
  sliceColumns,
  sliceRows,
  type TensorRecipe,
} from "../tensor/index.ts";

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

/**
 * The part of one tensor that tensor-parallel rank `r` holds. `parts` are the rule's sources, cast already; heads that
 * several ranks repeat are held in `repeated` between them.
 */
export function shard(
  rule: WeightRule,
  parts: readonly TensorRecipe[],
  r: number,
  spec: DecoderSpec,
  parallel: Parallel,
  repeated?: KeptBytes,
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
        parts.map((part, i) => headsOf(part, i === 0 ? spec.heads : spec.kvHeads, r, tp, spec.headDim, repeated)),
      );
    case "halves":
      return concatRows(halvesOf(whole).map(half => rowsOf(half, r, tp)));
    case "vocab":
      return paddedRowsOf(whole, r, tp);
    case "embedding":
      if (!parallel.parallelEmbedding) return whole;
      return parallel.embeddingShardingDim === 0 ? paddedRowsOf(whole, r, tp) : columnsOf(whole, r, tp);
  }
}

/** The same for the codes, scales and zero points of a linear layer, part by part. */
export function shardPacked(
  rule: WeightRule,
  parts: readonly PackedPlanes[],
  r: number,
  spec: DecoderSpec,
  { tpSize: tp }: Parallel,
): PackedPlanes {
  const outputs = (plane: Plane, heads?: number): Plane => {
    const rows = plane.recipe.shape[plane.turned ? 1 : 0] ?? 0;
    const [start, end] = heads === undefined ? [(r * rows) / tp, ((r + 1) * rows) / tp] : headRows(heads, r, tp, rows);
    return sliceOutputs(plane, start, end);
  };
  const inputs = (plane: Plane): Plane => {
    const columns = plane.recipe.shape[plane.turned ? 0 : 1] ?? 0;
    // One scale for all inputs of an output is every rank's.
    return columns === 1 ? plane : sliceInputs(plane, (r * columns) / tp, ((r + 1) * columns) / tp);
  };
  const halves = (plane: Plane): Plane => {
    const half = (plane.recipe.shape[plane.turned ? 1 : 0] ?? 0) / 2;
    return stackOutputs([0, half].map(at => sliceOutputs(plane, at + (r * half) / tp, at + ((r + 1) * half) / tp)));
  };
  const shares = parts.map((part, i) => {
    if (rule.split === "row") return mapPlanes(part, inputs);
    if (rule.split === "halves") return mapPlanes(part, halves);
    const heads = rule.split === "qkv" ? (i === 0 ? spec.heads : spec.kvHeads) : undefined;
    return mapPlanes(part, plane => outputs(plane, heads));
  });
  const [first] = shares as [PackedPlanes];
  const stack = (pick: (planes: PackedPlanes) => Plane | undefined): Plane =>
    stackOutputs(shares.map(share => pick(share) as Plane));
  return {
    codes: stack(share => share.codes),
    scales: stack(share => share.scales),
    ...(first.zeros && { zeros: stack(share => share.zeros) }),
  };
}

/** With fewer heads than ranks rank r has head ⌊r · heads / tp⌋ whole. */
function headRows(heads: number, r: number, tp: number, rows: number): readonly [number, number] {
  if (heads >= tp) return [(r * rows) / tp, ((r + 1) * rows) / tp];
  const head = Math.floor((r * heads) / tp);
  return [(head * rows) / heads, ((head + 1) * rows) / heads];
}

function halvesOf(recipe: TensorRecipe): TensorRecipe[] {
  const rows = rowCount(recipe.shape);
  return [sliceRows(recipe, 0, rows / 2), sliceRows(recipe, rows / 2, rows)];
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
function headsOf(
  recipe: TensorRecipe,
  heads: number,
  r: number,
  tp: number,
  headDim: number,
  repeated?: KeptBytes,
): TensorRecipe {
  if (heads >= tp) return rowsOf(recipe, r, tp);
  const head = Math.floor((r * heads) / tp);
  const [start, end] = [head * headDim, (head + 1) * headDim];
  return repeated?.rows(recipe, start, end) ?? sliceRows(recipe, start, end);
}

/** Padded with zero rows to a multiple of tp before the split, so that row i of the vocabulary stays row i of the joined table. */
function paddedRowsOf(recipe: TensorRecipe, r: number, tp: number): TensorRecipe {
  const rows = rowCount(recipe.shape);
  const share = Math.ceil(rows / tp);
  const start = Math.min(rows, r * share);
  return padRows(sliceRows(recipe, start, Math.min(rows, start + share)), share);
}
