import type { StoredTensor, TensorRecipe } from "../../tensor/index.ts";

/** A tensor put in order by a recipe, to be read like one that is stored so. */
export function asStored(name: string, recipe: TensorRecipe, at: string): StoredTensor {
  const { dtype, shape, ranges } = recipe;
  const [range] = ranges ?? [];
  const readRows = (start: number, end: number): Promise<Uint8Array> => recipe.readRows(start, end);
  return { name, dtype, shape, at, readRows, ...(range && ranges?.length === 1 && { range }) };
}
