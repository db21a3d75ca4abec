import { cutRanges, joinRanges } from "./ops-ranges.ts";
import { rowBytes, rowCount, type TensorRecipe } from "./recipe.ts";
import { byteLength, elementCount, type Shape } from "./shape.ts";
import type { ByteRange, StoredTensor } from "./stored.ts";

/**
 * Recipe combinators that move whole rows. Axis 0 is "rows". They keep `ranges` as long as the result is made of plain
 * file bytes, so that a shard made of rows is copied by the writer without passing through a dtype at all.
 * Arguments come from shapes that were checked before: a bad index is a bug of mmtrt, hence a plain Error.
 */

export function fromStored(tensor: StoredTensor): TensorRecipe {
  return make(tensor.name, tensor.dtype, tensor.shape, [tensor.name], tensor.range && [tensor.range], (start, end) =>
    tensor.readRows(start, end),
  );
}

/** The same tensor under the name it gets in the file to be written. */
export function named(name: string, recipe: TensorRecipe): TensorRecipe {
  return { ...recipe, name };
}

export function sliceRows(recipe: TensorRecipe, start: number, end: number): TensorRecipe {
  const rows = rowCount(recipe.shape);
  must(start >= 0 && start <= end && end <= rows, `rows ${start}…${end} of ${rows} in ${recipe.name}`);
  if (start === 0 && end === rows) return recipe;
  const size = rowBytes(recipe.dtype, recipe.shape);
  const shape = [end - start, ...recipe.shape.slice(1)];
  const ranges = recipe.ranges && cutRanges(recipe.ranges, start * size, end * size);
  return make(recipe.name, recipe.dtype, shape, recipe.sources, ranges, (a, b) =>
    recipe.readRows(start + a, start + b),
  );
}

/** Stacks on axis 0; all parts share dtype and row shape. */
export function concatRows(parts: readonly TensorRecipe[]): TensorRecipe {
  const first = sameRows(parts);
  if (parts.length === 1) return first;
  const rows = parts.reduce((sum, part) => sum + rowCount(part.shape), 0);
  const shape = [rows, ...first.shape.slice(1)];
  const sources = [...new Set(parts.flatMap(part => part.sources))];
  return make(first.name, first.dtype, shape, sources, joinRanges(parts.map(part => part.ranges)), (start, end) =>
    readStacked(parts, start, end, rowBytes(first.dtype, shape)),
  );
}

/** Rows of zeros: what pads lm_head and the vocabulary table up to a multiple of tp_size. */
export function zeroRows(like: TensorRecipe, rows: number): TensorRecipe {
  const size = rowBytes(like.dtype, like.shape);
  const shape = [rows, ...like.shape.slice(1)];
  return make(like.name, like.dtype, shape, [], undefined, async (start, end) => new Uint8Array((end - start) * size));
}

/** Pads with zero rows at the end up to `rows`. */
export function padRows(recipe: TensorRecipe, rows: number): TensorRecipe {
  const missing = rows - rowCount(recipe.shape);
  must(missing >= 0, `padding ${recipe.name} to ${rows} rows`);
  return missing === 0 ? recipe : concatRows([recipe, zeroRows(recipe, missing)]);
}

/** Each group of `headRows` rows `times` times in a row: k0 k0 k1 k1, as TensorRT-LLM duplicates key/value heads. */
export function repeatHeads(recipe: TensorRecipe, headRows: number, times: number): TensorRecipe {
  const heads = rowCount(recipe.shape) / headRows;
  must(Number.isInteger(heads), `${headRows} rows a head in ${recipe.name}`);
  if (times === 1) return recipe;
  const head = (h: number): TensorRecipe => sliceRows(recipe, h * headRows, (h + 1) * headRows);
  return concatRows(Array.from({ length: heads * times }, (_, i) => head(Math.floor(i / times))));
}

/** The same bytes under another shape of as many elements. */
export function reshape(recipe: TensorRecipe, shape: Shape): TensorRecipe {
  must(elementCount(shape) === elementCount(recipe.shape), `reshape of ${recipe.name}`);
  const to = rowBytes(recipe.dtype, shape);
  const from = rowBytes(recipe.dtype, recipe.shape);
  const read = async (start: number, end: number): Promise<Uint8Array> => {
    if (from === to) return recipe.readRows(start, end);
    const first = Math.floor((start * to) / from);
    const bytes = await recipe.readRows(first, Math.ceil((end * to) / from));
    return bytes.subarray(start * to - first * from, end * to - first * from);
  };
  return make(recipe.name, recipe.dtype, shape, recipe.sources, recipe.ranges, read);
}

/**
 * Reorders rows inside each group of `order.length`: output row g·n + i is input row g·n + order[i].
 * Groups are small (one attention head), so a band reads at most one group more at either end.
 */
export function permuteRows(recipe: TensorRecipe, order: readonly number[]): TensorRecipe {
  const group = order.length;
  must(rowCount(recipe.shape) % group === 0, `${group} rows a group in ${recipe.name}`);
  const size = rowBytes(recipe.dtype, recipe.shape);
  const read = async (start: number, end: number): Promise<Uint8Array> => {
    const first = Math.floor(start / group) * group;
    const source = await recipe.readRows(first, Math.ceil(end / group) * group);
    const out = Buffer.allocUnsafe((end - start) * size);
    for (let row = start; row < end; row++) {
      const from = (Math.floor(row / group) * group + (order[row % group] as number) - first) * size;
      out.set(source.subarray(from, from + size), (row - start) * size);
    }
    return out;
  };
  return make(recipe.name, recipe.dtype, recipe.shape, recipe.sources, undefined, read);
}

/**
 * Meta keeps the two halves of each rotary pair side by side (2j, 2j+1), Hugging Face in two halves (j, j + d/2):
 * per head view(d/2, 2).transpose → (2, d/2).
 */
export function metaRotary(recipe: TensorRecipe, headDim: number): TensorRecipe {
  const half = headDim / 2;
  must(Number.isInteger(half), `even head size in ${recipe.name}`);
  return permuteRows(
    recipe,
    Array.from({ length: headDim }, (_, i) => (i < half ? 2 * i : 2 * (i - half) + 1)),
  );
}

export function make(
  name: string,
  dtype: TensorRecipe["dtype"],
  shape: Shape,
  sources: readonly string[],
  ranges: readonly ByteRange[] | undefined,
  readRows: TensorRecipe["readRows"],
): TensorRecipe {
  return { name, dtype, shape, sources, ...(ranges && { ranges }), readRows };
}

export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`recipe: impossible ${what}`);
}

function sameRows(parts: readonly TensorRecipe[]): TensorRecipe {
  const [first] = parts;
  must(first !== undefined, "stack of nothing");
  const size = byteLength((first as TensorRecipe).dtype, (first as TensorRecipe).shape.slice(1));
  for (const part of parts) {
    const fits = part.dtype === first?.dtype && rowBytes(part.dtype, part.shape) === size;
    must(fits, `stack of ${first?.name} and ${part.name}`);
  }
  return first as TensorRecipe;
}

async function readStacked(
  parts: readonly TensorRecipe[],
  start: number,
  end: number,
  size: number,
): Promise<Uint8Array> {
  let at = 0;
  let out: Uint8Array | undefined;
  for (const part of parts) {
    const rows = rowCount(part.shape);
    const from = Math.max(start, at);
    const to = Math.min(end, at + rows);
    if (from < to) {
      const bytes = await part.readRows(from - at, to - at);
      if (from === start && to === end) return bytes;
      out ??= Buffer.allocUnsafe((end - start) * size);
      out.set(bytes, (from - start) * size);
    }
    at += rows;
  }
  return out ?? new Uint8Array(0);
}
