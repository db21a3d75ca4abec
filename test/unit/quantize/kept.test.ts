import { expect, it } from "vitest";
import { KeptBytes } from "../../../src/quantize/kept.ts";
import type { TensorRecipe } from "../../../src/tensor/index.ts";
import { floats } from "../../support/tensors.ts";

/** 19 rows of 40 bytes, and how many of them were read. */
function counted(name: string): { readonly recipe: TensorRecipe; readonly read: () => number } {
  const plain = floats(
    name,
    [19, 10],
    Array.from({ length: 190 }, (_, i) => i + name.length),
  );
  let rows = 0;
  const readRows = (start: number, end: number): Promise<Uint8Array> => {
    rows += end - start;
    return plain.readRows(start, end);
  };
  return { recipe: { ...plain, readRows }, read: () => rows };
}

const BYTES = 19 * 40;

it("reads a tensor once for all who ask at the same time or later", async () => {
  const { recipe, read } = counted("w");
  const kept = new KeptBytes(BYTES).keep(recipe);
  const [a, b] = await Promise.all([kept.readRows(3, 5), kept.readRows(0, 19)]);
  expect(Buffer.from(b).subarray(120, 200)).toEqual(Buffer.from(a));
  expect(Buffer.from(b)).toEqual(Buffer.from(await recipe.readRows(0, 19)));
  await kept.readRows(18, 19);
  expect(read()).toBe(19 + 19);
});

it("gives a tensor beyond its limit as it is", () => {
  const { recipe } = counted("w");
  expect(new KeptBytes(BYTES - 1).keep(recipe)).toBe(recipe);
});

it("lets the longest unused go, and reads of it only what is asked for from then on", async () => {
  const sources = ["a", "bb", "ccc"].map(counted);
  const store = new KeptBytes(2 * BYTES);
  const [a, b, c] = sources.map(({ recipe }) => store.keep(recipe)) as [TensorRecipe, TensorRecipe, TensorRecipe];
  await a.readRows(0, 1);
  await b.readRows(0, 1);
  await a.readRows(1, 2);
  await c.readRows(0, 1);
  expect(sources.map(({ read }) => read())).toEqual([19, 19, 19]);
  for (const one of [a, b, c]) await one.readRows(4, 6);
  expect(sources.map(({ read }) => read())).toEqual([19, 21, 19]);
});

it("gives ranks that ask for the same rows one recipe", async () => {
  const { recipe, read } = counted("w");
  const store = new KeptBytes(BYTES);
  const [one, other] = [store.rows(recipe, 4, 8), store.rows(recipe, 4, 8)];
  expect(other).toBe(one);
  expect(Buffer.from(await one.readRows(1, 4))).toEqual(Buffer.from(await recipe.readRows(5, 8)));
  await other.readRows(0, 4);
  expect(read()).toBe(4 + 3);
});
