import { FilePool } from "../formats/file.ts";
import { rowBytes, type TensorRecipe } from "../tensor/index.ts";
import { cutRanges } from "../tensor/ops-ranges.ts";

/** Which of two places a band lies in. */
export type Slot = 0 | 1;

/**
 * Rows [start, end) of `recipe` to the front of `target(slot, start)`, band after band, `use` being called for each. While a band is
 * used, the next one is read into the other slot by another thread, so the time is that of the slower of both. Plain file bytes are read
 * where the kernels work: a buffer for each band would cost more in garbage than the arithmetic.
 */
export async function eachBand(
  recipe: TensorRecipe,
  bandRows: number,
  target: (slot: Slot, start: number) => Uint8Array,
  use: (start: number, end: number, slot: Slot) => void,
): Promise<void> {
  const rows = recipe.shape[0] ?? 0;
  const pool = new FilePool();
  const fill = async (start: number, slot: Slot): Promise<void> =>
    fillBand(pool, recipe, [start, Math.min(rows, start + bandRows)], target(slot, start));
  let slot: Slot = 0;
  let next = rows > 0 ? fill(0, slot) : Promise.resolve();
  try {
    for (let start = 0; start < rows; start += bandRows) {
      await next;
      const own: Slot = slot;
      slot = own === 0 ? 1 : 0;
      next = start + bandRows < rows ? fill(start + bandRows, slot) : Promise.resolve();
      use(start, Math.min(rows, start + bandRows), own);
    }
  } finally {
    // A read under way writes into memory that its owner is about to give to somebody else.
    await next.catch(() => undefined);
    await pool.close();
  }
}

async function fillBand(
  pool: FilePool,
  recipe: TensorRecipe,
  [start, end]: readonly [number, number],
  target: Uint8Array,
): Promise<void> {
  if (recipe.ranges === undefined) return target.set(await recipe.readRows(start, end), 0);
  const width = rowBytes(recipe.dtype, recipe.shape);
  let at = 0;
  for (const { file, offset, length } of cutRanges(recipe.ranges, start * width, end * width)) {
    await pool.readInto(file, target.subarray(at, at + length), offset);
    at += length;
  }
}
