import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ByteRange,
  byteLength,
  cast,
  concatColumns,
  concatRows,
  type Dtype,
  elementCount,
  fromStored,
  metaRotary,
  padRows,
  recipeBytes,
  repeatHeads,
  reshape,
  rowBytes,
  type Shape,
  type StoredTensor,
  sliceColumns,
  sliceRows,
  type TensorRecipe,
  transpose,
} from "../../../src/tensor/index.ts";

/** float32 counting from `first`, as if it lay in a file at `offset`. */
function counting(name: string, shape: Shape, first = 0, offset = 0): StoredTensor {
  const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => first + i);
  return stored(name, "float32", shape, new Uint8Array(values.buffer), offset);
}

function stored(name: string, dtype: Dtype, shape: Shape, bytes: Uint8Array, offset = 0): StoredTensor {
  const size = rowBytes(dtype, shape);
  return {
    name,
    dtype,
    shape,
    at: `memory: byte ${offset}`,
    range: { file: "memory", offset, length: byteLength(dtype, shape) },
    readRows: async (start, end) => bytes.subarray(start * size, end * size),
  };
}

/** Evaluated in bands of `band` bytes, as nested arrays flattened. */
async function values(recipe: TensorRecipe, band: number): Promise<number[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of recipeBytes(recipe, band)) chunks.push(chunk);
  const bytes = new Uint8Array(Buffer.concat(chunks));
  expect(bytes.byteLength).toBe(byteLength(recipe.dtype, recipe.shape));
  return [...new Float32Array(bytes.buffer)];
}

/** What the ranges point at, taken from a file whose float at byte 4·i is i. */
function floatsOf(ranges: readonly ByteRange[]): number[] {
  return ranges.flatMap(r => Array.from({ length: r.length / 4 }, (_, i) => r.offset / 4 + i));
}

const sizes = fc.integer({ min: 1, max: 23 });
const bands = fc.constantFrom(1, 19, 64, 989, 1 << 20);

describe("row combinators", () => {
  it("slice rows as an in-memory slice does, and keep file ranges of just those bytes", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, sizes, sizes, bands, async (rows, columns, a, b, band) => {
        const [start, end] = [Math.min(a, b, rows), Math.min(Math.max(a, b), rows)];
        const recipe = sliceRows(fromStored(counting("w", [rows, columns])), start, end);
        const expected = Array.from({ length: (end - start) * columns }, (_, i) => start * columns + i);
        expect(await values(recipe, band)).toEqual(expected);
        expect(floatsOf(recipe.ranges ?? [])).toEqual(expected);
      }),
    );
  });

  it("stack rows in order and merge ranges that touch in the file", async () => {
    const q = fromStored(counting("q", [3, 5], 0, 0));
    const k = fromStored(counting("k", [2, 5], 15, 60));
    const far = fromStored(counting("far", [1, 5], 100, 400));
    const recipe = concatRows([q, k, far]);
    expect(await values(recipe, 19)).toEqual([...Array(25).keys(), 100, 101, 102, 103, 104]);
    expect(recipe.ranges).toEqual([
      { file: "memory", offset: 0, length: 100 },
      { file: "memory", offset: 400, length: 20 },
    ]);
    expect(recipe.sources).toEqual(["q", "k", "far"]);
  });

  it("pad with zero rows at the end and have no ranges any more", async () => {
    const recipe = padRows(fromStored(counting("w", [3, 2], 1)), 5);
    expect(recipe.shape).toEqual([5, 2]);
    expect(recipe.ranges).toBeUndefined();
    expect(await values(recipe, 8)).toEqual([1, 2, 3, 4, 5, 6, 0, 0, 0, 0]);
  });

  it("repeat heads consecutively, k0 k0 k1 k1, still as plain file ranges", async () => {
    const recipe = repeatHeads(fromStored(counting("k", [4, 1])), 2, 2);
    expect(await values(recipe, 1)).toEqual([0, 1, 0, 1, 2, 3, 2, 3]);
    expect(floatsOf(recipe.ranges ?? [])).toEqual([0, 1, 0, 1, 2, 3, 2, 3]);
  });

  it("reshape without touching the bytes, whatever the bands", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, sizes, bands, async (a, b, c, band) => {
        const recipe = reshape(fromStored(counting("w", [a, b * c])), [a * b, c]);
        expect(await values(recipe, band)).toEqual([...Array(a * b * c).keys()]);
        expect(await values(reshape(recipe, [1, a * b * c]), band)).toEqual([...Array(a * b * c).keys()]);
      }),
    );
  });

  it("undo Meta's rotary pairs per head: even rows first, then odd ones", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, sizes, bands, async (heads, half, columns, band) => {
        const recipe = metaRotary(fromStored(counting("wq", [heads * 2 * half, columns])), 2 * half);
        const expected: number[] = [];
        for (let h = 0; h < heads; h++)
          for (let p = 0; p < 2; p++)
            for (let j = 0; j < half; j++)
              for (let c = 0; c < columns; c++) expected.push(((h * half + j) * 2 + p) * columns + c);
        expect(await values(recipe, band)).toEqual(expected);
      }),
    );
  });
});

describe("column combinators", () => {
  it("slice columns of every row, inner axes included", async () => {
    await fc.assert(
      fc.asyncProperty(
        sizes,
        sizes,
        fc.integer({ min: 1, max: 3 }),
        sizes,
        sizes,
        bands,
        async (rows, columns, inner, a, b, band) => {
          const [start, end] = [Math.min(a, b, columns), Math.min(Math.max(a, b), columns)];
          const recipe = sliceColumns(fromStored(counting("w", [rows, columns, inner])), start, end);
          const all = [...Array(rows * columns * inner).keys()];
          const expected = all.filter(
            i => Math.floor(i / inner) % columns >= start && Math.floor(i / inner) % columns < end,
          );
          expect(await values(recipe, band)).toEqual(expected);
        },
      ),
    );
  });

  it("transpose in any bands, more than one panel deep", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, bands, async (rows, columns, band) => {
        const recipe = transpose(fromStored(counting("w", [rows, columns])));
        const expected = Array.from({ length: rows * columns }, (_, i) => (i % rows) * columns + Math.floor(i / rows));
        expect(await values(recipe, band)).toEqual(expected);
      }),
    );
    const tall = transpose(transpose(fromStored(counting("tall", [4099, 2053]))));
    const bytes = await tall.readRows(4090, 4099);
    const first = new Float32Array(new Uint8Array(bytes).buffer)[0];
    expect(first).toBe(Math.fround(4090 * 2053));
  });
});

describe("shards", () => {
  it("of rows or of columns join to the tensor they came from", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, fc.integer({ min: 1, max: 5 }), bands, async (rows, columns, tp, band) => {
        const whole = fromStored(counting("w", [rows * tp, columns * tp]));
        const parts = Array.from({ length: tp }, (_, r) => r);
        const byRows = concatRows(parts.map(r => sliceRows(whole, r * rows, (r + 1) * rows)));
        const byColumns = concatColumns(parts.map(r => sliceColumns(whole, r * columns, (r + 1) * columns)));
        const expected = [...Array(rows * columns * tp * tp).keys()];
        expect(await values(byRows, band)).toEqual(expected);
        expect(floatsOf(byRows.ranges ?? [])).toEqual(expected);
        expect(await values(byColumns, band)).toEqual(expected);
        expect(byColumns.sources).toEqual(["w"]);
      }),
    );
  });
});

describe("cast", () => {
  it("rounds to the nearest value, ties to even, and keeps signs, infinities and NaN", async () => {
    const source = new Float32Array([
      1,
      -0,
      2049,
      2051,
      65519.996,
      65520,
      2 ** -25,
      1.5 * 2 ** -25,
      Number.NaN,
      Number.NEGATIVE_INFINITY,
    ]);
    const tensor = stored("w", "float32", [source.length], new Uint8Array(source.buffer));
    const half = cast(fromStored(tensor), "float16");
    expect(half.ranges).toBeUndefined();
    const bits = new Uint16Array(new Uint8Array(await half.readRows(0, source.length)).buffer);
    expect([...bits]).toEqual([0x3c00, 0x8000, 0x6800, 0x6802, 0x7bff, 0x7c00, 0, 1, 0x7e00, 0xfc00]);
    const back = await values(cast(half, "float32"), 1);
    expect(back.slice(0, 6)).toEqual([1, -0, 2048, 2052, 65504, Number.POSITIVE_INFINITY]);
  });

  it("reads float64 and bytes that start at an odd offset", async () => {
    const bytes = new Uint8Array(8 * 3 + 1);
    const view = new DataView(bytes.buffer, 1);
    for (const [i, value] of [1 / 3, -7, 1e300].entries()) view.setFloat64(i * 8, value, true);
    const tensor = stored("w", "float64", [3], bytes.subarray(1));
    expect(await values(cast(fromStored(tensor), "float32"), 1)).toEqual([
      Math.fround(1 / 3),
      -7,
      Number.POSITIVE_INFINITY,
    ]);
  });

  it("to its own dtype is the recipe itself, ranges and all", () => {
    const recipe = fromStored(counting("w", [2, 2]));
    expect(cast(recipe, "float32")).toBe(recipe);
  });
});
