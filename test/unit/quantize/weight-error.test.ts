import { describe, expect, it } from "vitest";
import { toE4m3 } from "../../../src/quantize/e4m3.ts";
import { fromE4m3 } from "../../../src/quantize/e4m3-values.ts";
import { weightError } from "../../../src/quantize/weight-error.ts";
import { weightOnly } from "../../../src/quantize/weight-only.ts";
import {
  linearForm,
  type QuantSpec,
  type StoredTensor,
  type TensorRecipe,
  UNQUANTIZED,
} from "../../../src/tensor/index.ts";

const MODULE = "transformer.layers.0.mlp.fc";

function matrix(n: number, k: number): { readonly recipe: TensorRecipe; readonly values: Float32Array } {
  let state = 19;
  const values = Float32Array.from({ length: n * k }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32 - 0.5) * 0.1;
  });
  return { recipe: recipeOf(`${MODULE}.weight`, [n, k], new Uint8Array(values.buffer)), values };
}

function recipeOf(name: string, shape: readonly number[], bytes: Uint8Array, dtype: StoredTensor["dtype"] = "float32") {
  const row = bytes.byteLength / (shape[0] ?? 1);
  const readRows = async (start: number, end: number): Promise<Uint8Array> => bytes.subarray(start * row, end * row);
  return { name, dtype, shape, sources: [], at: "test", readRows } satisfies TensorRecipe & StoredTensor;
}

/** round(w / s) · s with s = max |w| / 2^(bits − 1) of the group, in float64, without sharing anything with the product. */
function straightforward(w: Float32Array, bits: number, group: number) {
  const levels = 2 ** (bits - 1);
  let [dot, own, other, distance, most] = [0, 0, 0, 0, 0];
  for (let at = 0; at < w.length; at += group) {
    const part = [...w.subarray(at, at + group)];
    const scale = Math.max(...part.map(Math.abs)) / levels;
    for (const value of part) {
      const code = Math.min(levels - 1, Math.sign(value) * Math.floor(Math.abs(value / scale) + 0.5));
      const error = code * scale - value;
      dot += code * scale * value;
      own += value ** 2;
      other += (code * scale) ** 2;
      distance += error ** 2;
      most = Math.max(most, Math.abs(error));
    }
  }
  return { cosine: dot / Math.sqrt(own * other), max_abs: most, relative: Math.sqrt(distance / own) };
}

describe("the error of a quantized weight", () => {
  it.each([
    ["W8A16", 19, 989, 8, 989],
    ["W8A16", 64, 48, 8, 48],
    ["W4A16", 38, 989, 4, 989],
    ["W4A16_GPTQ", 38, 96, 4, 32],
    ["W4A16_GPTQ", 2, 16, 4, 16],
  ] as const)("of %s [%i, %i] is what plain arithmetic gives", async (quantAlgo, n, k, bits, group) => {
    const spec: QuantSpec = { ...UNQUANTIZED, quantAlgo, groupSize: group };
    const { recipe, values } = matrix(n, k);
    const stored = weightOnly(spec).store(recipe, { tpRank: 0, tpSize: 1, layer: 0, split: "column" });
    const tensor = (name: string): StoredTensor => {
      const found = stored.find(one => one.name === `${MODULE}.${name}`) as TensorRecipe;
      return { ...found, at: "test" };
    };
    const error = await weightError(recipe, linearForm(spec, MODULE), tensor);
    const expected = straightforward(values, bits, group);
    expect(error?.cosine).toBeCloseTo(expected.cosine, 6);
    expect(error?.max_abs).toBeCloseTo(expected.max_abs, 6);
    expect(error?.relative).toBeCloseTo(expected.relative, 6);
    expect(error?.relative).toBeGreaterThan(bits === 8 ? 1e-3 : 1e-2);
  });

  it("of FP8 is that of its values, and an E4M3 byte is the byte of its value", async () => {
    const table = fromE4m3();
    for (let byte = 0; byte < 256; byte++) {
      if (Number.isNaN(table[byte])) expect(byte & 0x7f).toBe(0x7f);
      else expect(toE4m3(table[byte] as number)).toBe(byte);
    }
    const { recipe, values } = matrix(19, 7);
    const scale = 0.05 / 448;
    const bytes = Uint8Array.from(values, value => toE4m3(value / scale));
    const tensor = (name: string): StoredTensor =>
      name === "weight"
        ? recipeOf(name, [19, 7], bytes, "float8_e4m3fn")
        : recipeOf(name, [1], new Uint8Array(Float32Array.of(scale).buffer));
    const error = await weightError(recipe, { kind: "fp8" }, tensor);
    const worst = Math.max(
      ...values.map((value, i) => Math.abs((table[bytes[i] as number] as number) * scale - value)),
    );
    expect(error?.max_abs).toBeCloseTo(worst, 7);
    expect(error?.cosine).toBeGreaterThan(0.999);
  });

  it("is not known of smoothed weights, which are no longer the source's", async () => {
    const { recipe } = matrix(2, 2);
    const none = (): StoredTensor => {
      throw new Error("nothing is read");
    };
    expect(await weightError(recipe, { kind: "smooth", perToken: true, perChannel: true }, none)).toBeUndefined();
    expect(await weightError(recipe, { kind: "channel", bits: 8, floatWeights: true }, none)).toBeUndefined();
  });

  it("of a weight of zeros is none", async () => {
    const zeros = recipeOf("w", [2, 2], new Uint8Array(16));
    const tensor = (name: string): StoredTensor =>
      name === "weight" ? recipeOf(name, [2, 2], new Uint8Array(4), "int8") : recipeOf(name, [2], new Uint8Array(8));
    const form = { kind: "channel", bits: 8, floatWeights: false } as const;
    expect(await weightError(zeros, form, tensor)).toEqual({ cosine: 1, max_abs: 0, relative: 0 });
  });
});
