import type { PatchesRule } from "./patches.ts";
import type { Grid } from "./tokens.ts";

/** Patches of one picture: an image has one frame. */
export interface PatchGrid extends Grid {
  readonly frames: number;
}

/** What the visual engine takes beside the pixels of packed pictures; rows are those of its `input`. */
export interface PackedInputs {
  /** [patches, 2]: row and column of each patch in its frame. */
  readonly positions: Int32Array;
  /** [frames + 1]: where each frame begins, and where the last one ends. */
  readonly cuSeqlens: Int32Array;
  readonly windows?: PackedWindows;
  readonly table?: PackedTable;
}

export interface PackedWindows {
  /** [windows + 1]. */
  readonly cuSeqlens: Int32Array;
  /** [features]: which feature of the pictures stands at each place of the engine's. */
  readonly index: Int32Array;
  /** [features]: its inverse, which puts the features back. */
  readonly order: Int32Array;
}

/** Of each patch the four entries of the position table about it, and what each counts: [patches, 4]. */
export interface PackedTable {
  readonly rows: Int32Array;
  readonly weights: Float32Array;
}

type Geometry = Pick<PatchesRule, "patch" | "merge" | "window" | "table_side">;

/** The tables of pictures that lie one after the other; patches of a feature stay together, in every order. */
export function packedInputs(rule: Geometry, grids: readonly PatchGrid[]): PackedInputs {
  const { merge, window, table_side: side } = rule;
  const plain = positionsOf(grids, merge);
  const table = side === undefined ? undefined : tableOf(grids, plain, side);
  const windows = window === undefined ? undefined : windowsOf(rule, window, grids);
  const own = <T extends Rows>(rows: T, width: number): T =>
    windows === undefined ? rows : inWindowOrder(rows, width * merge * merge, windows.index);
  return {
    positions: own(plain, 2),
    cuSeqlens: sums(grids.flatMap(({ frames, rows, cols }) => new Array<number>(frames).fill(rows * cols))),
    ...(windows && { windows }),
    ...(table && { table: { rows: own(table.rows, 4), weights: own(table.weights, 4) } }),
  };
}

type Rows = Int32Array | Float32Array;

/** Groups of `width` numbers, in the order that `index` names them. */
export function inWindowOrder<T extends Rows>(rows: T, width: number, index: Int32Array): T {
  const ordered = rows.slice() as T;
  for (const [to, from] of index.entries()) ordered.set(rows.subarray(from * width, (from + 1) * width), to * width);
  return ordered;
}

/** Rows and columns of patches, feature by feature. */
function positionsOf(grids: readonly PatchGrid[], merge: number): Int32Array {
  const positions = new Int32Array(2 * grids.reduce((sum, grid) => sum + patchesOf(grid), 0));
  let at = 0;
  for (const { frames, rows, cols } of grids) {
    const start = at;
    for (let top = 0; top < rows; top += merge) {
      for (let left = 0; left < cols; left += merge) {
        for (let patch = 0; patch < merge * merge; patch++) {
          positions[at++] = top + Math.floor(patch / merge);
          positions[at++] = left + (patch % merge);
        }
      }
    }
    const size = at - start;
    for (let frame = 1; frame < frames; frame++, at += size) positions.copyWithin(at, start, start + size);
  }
  return positions;
}

export function patchesOf({ frames, rows, cols }: PatchGrid): number {
  return frames * rows * cols;
}

/** Windows of a frame from left to right and from top to bottom, those at the edges smaller; the features of each row by row. */
function windowsOf({ patch, merge }: Geometry, window: number, grids: readonly PatchGrid[]): PackedWindows {
  const edge = Math.floor(Math.floor(window / merge) / patch);
  const index: number[] = [];
  const sizes: number[] = [];
  let first = 0;
  for (const { frames, rows, cols } of grids) {
    const [height, width] = [rows / merge, cols / merge];
    for (let frame = 0; frame < frames; frame++, first += height * width) {
      for (let top = 0; top < height; top += edge) {
        for (let left = 0; left < width; left += edge) {
          const [bottom, right] = [Math.min(top + edge, height), Math.min(left + edge, width)];
          for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) index.push(first + y * width + x);
          sizes.push((bottom - top) * (right - left) * merge * merge);
        }
      }
    }
  }
  const order = new Int32Array(index.length);
  for (const [place, feature] of index.entries()) order[feature] = place;
  return { cuSeqlens: sums(sizes), index: Int32Array.from(index), order };
}

/** Entries about each patch's place in a table that is stretched over its picture, corner to corner; in float32, as transformers. */
function tableOf(grids: readonly PatchGrid[], positions: Int32Array, side: number): PackedTable {
  const rows = new Int32Array(2 * positions.length);
  const weights = new Float32Array(2 * positions.length);
  let patch = 0;
  for (const grid of grids) {
    for (const end = patch + patchesOf(grid); patch < end; patch++) {
      const [y, x] = [
        between(positions[2 * patch] as number, grid.rows, side),
        between(positions[2 * patch + 1] as number, grid.cols, side),
      ];
      for (let corner = 0; corner < 4; corner++) {
        const [down, right] = [corner >> 1, corner & 1] as const;
        rows[4 * patch + corner] = (y.entries[down] as number) * side + (x.entries[right] as number);
        weights[4 * patch + corner] = Math.fround((y.weights[down] as number) * (x.weights[right] as number));
      }
    }
  }
  return { rows, weights };
}

/** The entries before and after place `index` of `size` on an axis of `side` entries, and what each counts. */
function between(
  index: number,
  size: number,
  side: number,
): { readonly entries: readonly number[]; readonly weights: readonly number[] } {
  const place = Math.fround(Math.fround(index * (side - 1)) / Math.max(1, size - 1));
  const before = Math.floor(place);
  const share = Math.fround(place - before);
  const clamped = (entry: number): number => Math.min(side - 1, entry);
  return {
    entries: [clamped(before), clamped(before + 1)],
    weights: [Math.fround(1 - share), Math.fround(1 - Math.abs(Math.fround(share - 1)))],
  };
}

function sums(lengths: readonly number[]): Int32Array {
  const starts = new Int32Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) starts[i + 1] = (starts[i] as number) + length;
  return starts;
}
