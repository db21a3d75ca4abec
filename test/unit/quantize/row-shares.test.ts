import { describe, expect, it } from "vitest";
import { weightOnly } from "../../../src/quantize/weight-only.ts";
import {
  cast,
  type FloatDtype,
  type QuantAlgo,
  recipeBytes,
  sliceColumns,
  type TensorRecipe,
  UNQUANTIZED,
} from "../../../src/tensor/index.ts";
import { floats } from "../../support/tensors.ts";

const NAME = "transformer.layers.0.mlp.proj.weight";

/** A matrix [n, k] that counts the rows read of it; one output is all zeros. */
function counted(n: number, k: number, dtype: FloatDtype) {
  const values = Array.from({ length: n * k }, (_, i) =>
    Math.floor(i / k) === 3 ? 0 : (((i * 7919) % 1009) - 504) / 64 / (1 + (i % 13)),
  );
  const plain = cast(floats(NAME, [n, k], values), dtype);
  const rows = { read: 0 };
  const readRows = (start: number, end: number): Promise<Uint8Array> => {
    rows.read += end - start;
    return plain.readRows(start, end);
  };
  return { rows, recipe: { ...plain, readRows } };
}

async function bytesOf(recipe: TensorRecipe): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of recipeBytes(recipe, 1 << 12)) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts);
}

const FORMATS = [
  ["INT8", "W8A16", 128],
  ["INT4", "W4A16", 128],
  ["INT4 in groups", "W4A16_GPTQ", 16],
] as const satisfies readonly (readonly [string, QuantAlgo, number])[];
// Whole tiles with shares wider than a call of the kernel and of no round size; then no whole tiles.
const SIZES = [
  [64, 3 * 1040, 3],
  [48, 2 * 528, 2],
  [38, 4 * 48, 4],
] as const;

describe.each(FORMATS)("%s of a matrix whose inputs are split", (_, quantAlgo, groupSize) => {
  const spec = { ...UNQUANTIZED, quantAlgo, groupSize };

  it.each(SIZES)("[%i, %i] over %i ranks is what each rank makes of its columns alone", async (n, k, tp) => {
    for (const dtype of ["float32", "float16", "bfloat16"] as const) {
      const { recipe } = counted(n, k, dtype);
      const together = weightOnly(spec);
      for (let tpRank = 0; tpRank < tp; tpRank++) {
        const share = sliceColumns(recipe, (tpRank * k) / tp, ((tpRank + 1) * k) / tp);
        const { columns: _, ...alone } = share;
        const place = { tpRank, tpSize: tp, layer: 0, split: "row" };
        const [expected, found] = [weightOnly(spec).store(alone, place), together.store(share, place)];
        expect(found.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(
          expected.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
        );
        expect(found.map(({ late }) => late === true)).toEqual([false, true]);
        for (const [i, one] of found.entries())
          expect((await bytesOf(one)).equals(await bytesOf(expected[i] as TensorRecipe))).toBe(true);
      }
    }
  });

  it("is read once for all ranks and their scales, and again after a release", async () => {
    const [n, k, tp] = SIZES[0];
    const { recipe, rows } = counted(n, k, "float16");
    const quantizer = weightOnly(spec);
    const shares = Array.from({ length: tp }, (_, tpRank) =>
      quantizer.store(sliceColumns(recipe, (tpRank * k) / tp, ((tpRank + 1) * k) / tp), {
        tpRank,
        tpSize: tp,
        layer: 0,
        split: "row",
      }),
    );
    const [first] = shares as [readonly TensorRecipe[]];
    const codes = await bytesOf(first[0] as TensorRecipe);
    for (const share of shares) for (const one of share) await bytesOf(one);
    expect(rows.read).toBe(n);
    first[0]?.release?.();
    expect((await bytesOf(first[0] as TensorRecipe)).equals(codes)).toBe(true);
    expect(rows.read).toBe(2 * n);
  });
});
