import { expect, it } from "vitest";
import { CodedMatrix } from "../../../src/quantize/codes.ts";
import { bf16ToF32, f16ToF32, type TensorRecipe } from "../../../src/tensor/index.ts";

const ROWS = 16;
/** Bit patterns of magnitude up to 1 in either dtype, both signs, filled up to whole tiles. */
const PATTERNS = 2 * 0x3f81 + 14;

/** Each row holds every pattern and a largest value of its own, from 1 on: 1 makes scales that are powers of two, so ties. */
function everyValue(dtype: "float16" | "bfloat16"): { readonly recipe: TensorRecipe; readonly values: Float32Array } {
  const one = dtype === "float16" ? 0x3c00 : 0x3f80;
  const bits = new Uint16Array(ROWS * PATTERNS);
  for (let row = 0; row < ROWS; row++) {
    for (let i = 0; i < PATTERNS; i++) {
      const magnitude = i >> 1 <= one ? i >> 1 : 0;
      bits[row * PATTERNS + i] = magnitude | ((i & 1) << 15);
    }
    bits[row * PATTERNS + PATTERNS - 1] = one + row * 7;
  }
  const values = new Float32Array(bits.length);
  (dtype === "float16" ? f16ToF32 : bf16ToF32)(bits, values);
  const bytes = new Uint8Array(bits.buffer);
  const readRows = async (start: number, end: number): Promise<Uint8Array> =>
    bytes.subarray(start * PATTERNS * 2, end * PATTERNS * 2);
  return { recipe: { name: "w", dtype, shape: [ROWS, PATTERNS], sources: [], readRows }, values };
}

/** The code by its formula, in float64, where |w / s| + ½ has no rounding. */
function codeOf(value: number, scale: number, levels: number): number {
  const quotient = Math.fround(value / scale);
  const code = Math.sign(quotient) * Math.floor(Math.abs(quotient) + 0.5);
  return Math.max(-levels, Math.min(levels - 1, code)) | 0;
}

for (const dtype of ["float16", "bfloat16"] as const) {
  for (const bits of [8, 4] as const) {
    it(`gives every ${dtype} up to 1 the INT${bits} code of the formula, ties and subnormals included`, async () => {
      const { recipe, values } = everyValue(dtype);
      const levels = 2 ** (bits - 1);
      const turned = await new CodedMatrix(recipe, bits).turned.readRows(0, PATTERNS);
      let wrong = 0;
      let ties = 0;
      for (let row = 0; row < ROWS; row++) {
        const scale = Math.fround((values[(row + 1) * PATTERNS - 1] as number) / levels);
        for (let column = 0; column < PATTERNS; column++) {
          const value = values[row * PATTERNS + column] as number;
          const expected = codeOf(value, scale, levels);
          const place = column * ROWS + row;
          const byte = turned[bits === 8 ? place : place >> 1] as number;
          const code = bits === 8 ? (byte << 24) >> 24 : ((byte >> (4 * (row & 1))) << 28) >> 28;
          if (code !== expected) wrong++;
          if (Math.abs(Math.fround(value / scale)) % 1 === 0.5) ties++;
        }
      }
      expect(wrong).toBe(0);
      expect(ties).toBeGreaterThan(2 * levels - 2);
    });
  }
}

it("knows the scales after the codes without reading the weight again", async () => {
  const { recipe, values } = everyValue("float16");
  let rowsRead = 0;
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    rowsRead += end - start;
    return recipe.readRows(start, end);
  };
  const matrix = new CodedMatrix({ ...recipe, readRows }, 8);
  await matrix.turned.readRows(0, PATTERNS);
  const scales = await matrix.scales.readRows(0, ROWS);
  expect(rowsRead).toBe(ROWS);
  const halves = new Uint16Array(scales.buffer, scales.byteOffset, ROWS);
  const wide = new Float32Array(ROWS);
  f16ToF32(halves, wide);
  expect([...wide]).toEqual(
    Array.from({ length: ROWS }, (_, row) => (values[(row + 1) * PATTERNS - 1] as number) / 128),
  );
});
