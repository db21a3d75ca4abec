import type { Dtype } from "./dtype.ts";
import { byteLength, type Shape } from "./shape.ts";
import type { ByteRange } from "./stored.ts";

/**
 * A tensor to be written, described as work on stored tensors and evaluated in bands of rows, so that memory
 * stays at a few bands whatever the tensor's size. Recipes are values: building one reads nothing.
 */
export interface TensorRecipe {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
  /** Names of the stored tensors it reads, for coverage ("every HF tensor consumed exactly once"). */
  readonly sources: readonly string[];
  /** Set when the output bytes are these file ranges one after the other: the writer copies them without looking. */
  readonly ranges?: readonly ByteRange[];
  /** Set when the output is columns of another recipe: the writer picks them for all ranks from one read. */
  readonly columns?: Columns;
  /** The bytes are codes, whatever the dtype says: their values mean nothing. */
  readonly opaque?: boolean;
  /** Known only when a narrower tensor has been written, so that it stands behind those where its alignment allows. */
  readonly late?: boolean;
  /** Gives up memory kept between reads; called when nothing more of the tensor, nor of its like on other ranks, is read. */
  release?(): void;
  /** Rows [start, end) of axis 0 as row-major little-endian bytes of `dtype`; a scalar is one row. */
  readRows(start: number, end: number): Promise<Uint8Array>;
}

/** Columns [start, end) of axis 1, for every row. */
export interface Columns {
  readonly of: TensorRecipe;
  readonly start: number;
  readonly end: number;
}

export function rowCount(shape: Shape): number {
  return shape[0] ?? 1;
}

export function rowBytes(dtype: Dtype, shape: Shape): number {
  return byteLength(dtype, shape.slice(1));
}

/** The whole tensor in bands of about `bandBytes`. */
export async function* recipeBytes(recipe: TensorRecipe, bandBytes = 8 << 20): AsyncGenerator<Uint8Array> {
  const rows = rowCount(recipe.shape);
  const band = Math.max(1, Math.floor(bandBytes / Math.max(1, rowBytes(recipe.dtype, recipe.shape))));
  for (let start = 0; start < rows; start += band) yield await recipe.readRows(start, Math.min(rows, start + band));
}
