import { setImmediate } from "node:timers/promises";
import { FilePool } from "../formats/file.ts";
import { rowBytes, type TensorRecipe } from "../tensor/index.ts";
import { cutRanges } from "../tensor/ops-ranges.ts";

/** Bytes read on this thread before timers, signals and other files get their turn. */
const YIELD_EVERY = 16 << 20;

/**
 * Rows [start, end) of `recipe` to the front of `target()`, band after band, `use` being called for each. Plain file
 * bytes are read where the kernels work: a buffer for each band would cost more in garbage than the arithmetic.
 */
export async function eachBand(
  recipe: TensorRecipe,
  bandRows: number,
  target: () => Uint8Array,
  use: (start: number, end: number) => void,
): Promise<void> {
  const rows = recipe.shape[0] ?? 0;
  const width = rowBytes(recipe.dtype, recipe.shape);
  const pool = new FilePool();
  let unyielded = 0;
  try {
    for (let start = 0; start < rows; start += bandRows) {
      const end = Math.min(rows, start + bandRows);
      if (recipe.ranges === undefined) target().set(await recipe.readRows(start, end), 0);
      else {
        let at = 0;
        for (const { file, offset, length } of cutRanges(recipe.ranges, start * width, end * width)) {
          await pool.readIntoHere(file, target().subarray(at, at + length), offset);
          at += length;
        }
      }
      use(start, end);
      unyielded += (end - start) * width;
      if (unyielded >= YIELD_EVERY) {
        unyielded = 0;
        await setImmediate();
      }
    }
  } finally {
    await pool.close();
  }
}
