import { describe, expect, it } from "vitest";
import { cast, multiplyRows, recipeBytes, type TensorRecipe } from "../../../src/tensor/index.ts";

const ROWS = 19;
const INNER = 7;
const OUT = 13;

function recipe(name: string, rows: number, columns: number, seed: number): TensorRecipe & { values: Float32Array } {
  const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.fround(Math.sin(seed + i * 1.7)));
  const bytes = new Uint8Array(values.buffer);
  const readRows = async (start: number, end: number): Promise<Uint8Array> =>
    bytes.subarray(start * columns * 4, end * columns * 4);
  return { name, dtype: "float32", shape: [rows, columns], sources: [name], readRows, values };
}

async function floats(product: TensorRecipe, band: number): Promise<Float32Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of recipeBytes(product, band)) chunks.push(Uint8Array.from(chunk));
  return new Float32Array(Uint8Array.from(Buffer.concat(chunks)).buffer);
}

describe("a product of rows with a matrix", () => {
  const x = recipe("x", ROWS, INNER, 1);
  const plain = recipe("m", INNER, OUT, 2);
  const stored = recipe("mt", OUT, INNER, 3);

  it.each([1, 60, 1 << 20])("is the sum over k, whatever bands of %i bytes it is read in", async band => {
    const product = multiplyRows(x, plain, false);
    expect(product.shape).toEqual([ROWS, OUT]);
    expect(product.sources).toEqual(["x", "m"]);
    const got = await floats(product, band);
    for (let r = 0; r < ROWS; r++) {
      for (let j = 0; j < OUT; j++) {
        let sum = 0;
        for (let k = 0; k < INNER; k++) sum += (x.values[r * INNER + k] ?? 0) * (plain.values[k * OUT + j] ?? 0);
        expect(Math.abs((got[r * OUT + j] ?? Number.NaN) - sum)).toBeLessThan(1e-6);
      }
    }
  });

  it("takes the matrix by its transpose too, as linear layers are stored", async () => {
    const got = await floats(multiplyRows(x, stored, true), 100);
    const sum = x.values.slice(0, INNER).reduce((all, v, k) => all + v * (stored.values[2 * INNER + k] ?? 0), 0);
    expect(got[2]).toBeCloseTo(sum, 6);
  });

  it("rounds once, to the dtype of the rows", async () => {
    const product = multiplyRows(cast(x, "float16"), cast(plain, "float16"), false);
    expect(product.dtype).toBe("float16");
    const wide = await floats(cast(product, "float32"), 100);
    const exact = await floats(multiplyRows(cast(cast(x, "float16"), "float32"), cast(plain, "float16"), false), 100);
    for (const [i, value] of wide.entries()) {
      expect(Math.abs(value - (exact[i] ?? Number.NaN))).toBeLessThanOrEqual(
        2 ** -11 * Math.abs(exact[i] ?? 0) + 2 ** -25,
      );
    }
  });
});
