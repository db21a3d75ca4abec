import { afterAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION } from "../../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../../src/checkpoint/read.ts";
import { toE4m3 } from "../../../src/quantize/e4m3.ts";
import {
  dequantized,
  E4M3,
  repeatGroups,
  rescaledE4m3,
  unpackColumns,
  unpackOutputPairs,
  unpackRows,
} from "../../../src/quantize/packed-codes.ts";
import type { PackedLinear, TensorRecipe } from "../../../src/tensor/index.ts";
import { edited, halves, PACKED, weightsOf, words } from "../../support/packed.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";
import { inMemory } from "../../support/tensors.ts";

const work = new Workspace();
afterAll(() => work.clean());

async function bytesOf({ shape, readRows }: TensorRecipe): Promise<Buffer> {
  return Buffer.from(await readRows(0, shape[0] ?? 0));
}

async function wordsIn(recipe: TensorRecipe): Promise<Int32Array> {
  return new Int32Array(Uint8Array.from(await bytesOf(recipe)).buffer);
}

/** Rows [a, b) for every a < b, and once row by row: bands may begin anywhere in a word, a pair or a group. */
async function expectSameInBands(recipe: TensorRecipe): Promise<void> {
  const rows = recipe.shape[0] ?? 0;
  const whole = await bytesOf(recipe);
  const width = whole.byteLength / rows;
  for (let a = 0; a < rows; a++)
    for (let b = a + 1; b <= rows; b++)
      expect(Buffer.from(await recipe.readRows(a, b)).equals(whole.subarray(a * width, b * width)), `${a} … ${b}`).toBe(
        true,
      );
}

describe("unpacked codes", () => {
  const four = { bits: 4, offset: -8, dtype: "int8" } as const;

  it("lie below each other in GPTQ's words", async () => {
    const source = words("w", [3, 5], 1);
    const [codes, stored] = [unpackRows({ ...four, words: source }, 19), await wordsIn(source)];
    const want = Array.from({ length: 19 * 5 }, (_, i) => {
      const [k, n] = [Math.floor(i / 5), i % 5];
      return ((stored[Math.floor(k / 8) * 5 + n]! >>> (4 * (k % 8))) & 15) - 8;
    });
    expect([...new Int8Array(await bytesOf(codes))]).toEqual(want);
    await expectSameInBands(codes);
  });

  it("lie side by side in compressed-tensors' words, the last of which may be part full", async () => {
    const source = words("w", [7, 3], 2);
    const codes = unpackColumns({ words: source, bits: 8, offset: -128, dtype: "int16" }, 11);
    const stored = await wordsIn(source);
    const want = Array.from({ length: 7 * 11 }, (_, i) => {
      const [n, k] = [Math.floor(i / 11), i % 11];
      return ((stored[n * 3 + Math.floor(k / 4)]! >>> (8 * (k % 4))) & 255) - 128;
    });
    expect([...new Int16Array(Uint8Array.from(await bytesOf(codes)).buffer)]).toEqual(want);
    await expectSameInBands(codes);
  });

  it("are pairs of outputs in ModelOpt's bytes, in two's complement", async () => {
    const codes = unpackOutputPairs(inMemory("w", "uint8", [2, 2], Uint8Array.of(0x80, 0x1f, 0x77, 0xe9)));
    expect([...new Int8Array(await bytesOf(codes))]).toEqual([0, -1, -8, 1, 7, -7, 7, -2]);
    await expectSameInBands(codes);
  });

  it.each([true, false])("stand for the same weights however they are read (outputs on axis 1: %s)", async turned => {
    const [n, k, groups] = [6, 12, 3];
    const shape = (rows: number, columns: number) => (turned ? [columns, rows] : [rows, columns]);
    const plane = (recipe: TensorRecipe) => ({ recipe, turned });
    const random = (count: number) => Int8Array.from({ length: count }, (_, i) => ((i * 53) % 16) - 8);
    const codes = inMemory("w", "int8", shape(n, k), new Uint8Array(random(n * k).buffer));
    const zeros = inMemory("z", "int16", shape(n, groups), new Uint8Array(Int16Array.from(random(n * groups)).buffer));
    const scales = halves("s", shape(n, groups), i => 0x3c00 + i);
    const planes = { codes: plane(codes), scales: plane(scales), zeros: plane(zeros) };
    const linear: PackedLinear = { module: "m", kind: "int4", outputs: n, inputs: k, groups, ...planes };
    const weight = dequantized(linear);
    const at = (row: number, column: number, columns: number) => (turned ? column * n + row : row * columns + column);
    const values = new Float32Array(Uint8Array.from(await bytesOf(weight)).buffer);
    for (let row = 0; row < n; row++)
      for (let i = 0; i < k; i++) {
        const g = at(row, Math.floor(i / 4), groups);
        const want = (random(n * k)[at(row, i, k)]! - random(n * groups)[g]!) * (1 + g / 1024);
        expect(values[row * k + i]).toBe(Math.fround(want));
      }
    await expectSameInBands(weight);
    const finer = repeatGroups(planes.scales, 2);
    await expectSameInBands(finer.recipe);
    const same = dequantized({ ...linear, groups: 6, scales: finer, zeros: repeatGroups(planes.zeros, 2) });
    expect((await bytesOf(same)).equals(await bytesOf(weight))).toBe(true);
  });
});

describe("E4M3", () => {
  it("has a code for each of its values, and half as large a scale doubles codes until they saturate", async () => {
    for (let code = 0; code < 256; code++) if ((code & 127) !== 127) expect(toE4m3(E4M3[code]!)).toBe(code);
    const all = inMemory(
      "w",
      "float8_e4m3fn",
      [2, 128],
      Uint8Array.from({ length: 256 }, (_, i) => i),
    );
    const doubled = await bytesOf(rescaledE4m3(all, 2));
    for (let code = 0; code < 256; code++)
      expect(E4M3[doubled[code]!]).toEqual(Math.max(-448, Math.min(448, 2 * E4M3[code]!)));
  });
});

describe("compressed-tensors with a scale for each output", () => {
  it.each([
    [4, "W4A16"],
    [8, "W8A16"],
  ] as const)("in %i bits becomes %s", async (bits, algo) => {
    const per = 32 / bits;
    const dir = await edited(work, `${PACKED}compressed_w4`, (config, tensors) => {
      for (const { name, shape } of [...tensors.values()]) {
        if (!name.endsWith("weight_packed")) continue;
        const [n = 0, width = 0] = shape;
        tensors.set(name, words(name, [n, (width * 8) / per], n));
        const scale = name.replace("packed", "scale");
        tensors.set(
          scale,
          halves(scale, [n, 1], i => 0x2000 + i),
        );
        tensors.delete(name.replace("packed", "zero_point"));
      }
      const weights = { num_bits: bits, type: "int", strategy: "channel", symmetric: true, dynamic: false };
      const group_0 = { targets: ["Linear"], weights };
      return { ...config, quantization_config: { quant_method: "compressed-tensors", config_groups: { group_0 } } };
    });
    const checkpoint = await convertTo(work, dir, "float32");
    const { quantization, close } = await openCheckpoint(checkpoint);
    await close();
    expect(quantization?.quantAlgo).toBe(algo);
    const [packed] = await weightsOf(checkpoint);
    const full = { quantization: { ...NO_QUANTIZATION, qformat: "full_prec" as const } };
    const [plain] = await weightsOf(await convertTo(work, dir, "float32", full));
    const stored = await wordsIn(words("w", [32, 96 / per], 32));
    const proj = packed!.get("transformer.layers.0.mlp.proj")!;
    for (let i = 0; i < 32 * 96; i++) {
      const [n, k] = [Math.floor(i / 96), i % 96];
      const code =
        ((stored[(n * 96) / per + Math.floor(k / per)]! >>> (bits * (k % per))) & (2 ** bits - 1)) - 2 ** (bits - 1);
      // 0x2000 + n is 2^-7 · (1 + n / 1024).
      expect(proj[i]).toBe(Math.fround(code * 2 ** -7 * (1 + n / 1024)));
    }
    expect([...packed!]).toEqual([...plain!]);
  });
});
