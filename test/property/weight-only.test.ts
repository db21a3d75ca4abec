import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { weightOnly } from "../../src/quantize/weight-only.ts";
import {
  cast,
  type FloatDtype,
  type QuantSpec,
  rowCount,
  type TensorRecipe,
  UNQUANTIZED,
  type WeightLayout,
} from "../../src/tensor/index.ts";
import { floats } from "../support/tensors.ts";

const NAME = "transformer.layers.0.mlp.fc";
const PLACE = { tpRank: 0, tpSize: 1, layer: 0, split: "column" };

/** Values with everything that could go wrong: zeros, whole rows of them, ties, the largest and the smallest numbers. */
function matrix(n: number, k: number, seed: number): Float32Array {
  let state = seed + 1;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from({ length: n * k }, (_, i) => {
    const row = Math.floor(i / k);
    if (row % 7 === 5) return 0;
    if (row % 7 === 3) return Math.round(random() * 256 - 128) / 2;
    const value = (random() - 0.5) * 2 ** Math.floor(random() * 12 - 8);
    return row % 7 === 4 ? value * 2 ** -14 : value;
  });
}

/** The formula of the TensorRT-LLM converters, written down without sharing anything with the product. */
function straightforward(w: Float32Array, n: number, k: number, bits: number, group: number) {
  const half = 2 ** (bits - 1);
  const scales = new Float32Array((n * k) / group);
  const codes = new Int8Array(n * k);
  for (let row = 0; row < n; row++) {
    for (let g = 0; g < k / group; g++) {
      const part = [...w.subarray(row * k + g * group, row * k + (g + 1) * group)];
      const scale = Math.fround(Math.max(...part.map(Math.abs)) * Math.fround(1 / half));
      scales[(g * n + row) | 0] = scale;
      for (const [i, value] of part.entries()) {
        const x = scale === 0 ? 0 : Math.fround(value / scale);
        const rounded = Math.floor(Math.abs(x) + 0.5) * (x < 0 ? -1 : 1);
        codes[row * k + g * group + i] = Math.min(half - 1, Math.max(-half, rounded));
      }
    }
  }
  return { scales, codes };
}

const packed = (columns: readonly number[]): number[] =>
  Array.from({ length: columns.length / 2 }, (_, j) => {
    const [low = 0, high = 0] = columns.slice(2 * j, 2 * j + 2);
    return (low & 15) | ((high & 15) << 4);
  });

async function bytesOf(recipe: TensorRecipe, cuts: readonly number[] = []): Promise<Buffer> {
  const rows = rowCount(recipe.shape);
  const ends = [...new Set([...cuts.map(cut => cut % (rows + 1)), rows])].filter(end => end > 0).sort((a, b) => a - b);
  const parts: Uint8Array[] = [];
  let start = 0;
  for (const end of ends) {
    parts.push(Uint8Array.from(await recipe.readRows(start, end)));
    start = end;
  }
  return Buffer.concat(parts);
}

function spec(bits: number, group: number | undefined, weightLayout: WeightLayout = "plain"): QuantSpec {
  const quantAlgo = bits === 8 ? "W8A16" : group === undefined ? "W4A16" : "W4A16_GPTQ";
  return { ...UNQUANTIZED, quantAlgo, ...(group !== undefined && { groupSize: group }), weightLayout };
}

async function stored(w: TensorRecipe, quant: QuantSpec, cuts: readonly number[] = []) {
  const [codes, scales] = weightOnly(quant).store(w, PLACE) as readonly [TensorRecipe, TensorRecipe];
  return { codes, scales, codeBytes: await bytesOf(codes, cuts), scaleBytes: await bytesOf(scales, cuts) };
}

describe("weight-only codes", () => {
  const sizes = fc.record({
    n: fc.oneof(
      fc.integer({ min: 1, max: 40 }).map(n => 2 * n),
      fc.constantFrom(16, 48, 80, 176),
    ),
    groups: fc.integer({ min: 1, max: 5 }),
    group: fc.constantFrom(1, 3, 16, 19, 32, 99, 144, 272),
    bits: fc.constantFrom(8, 4),
    grouped: fc.boolean(),
    dtype: fc.constantFrom<FloatDtype>("float32", "float16", "bfloat16"),
    seed: fc.nat(1e6),
    cuts: fc.array(fc.nat(500), { maxLength: 4 }),
  });

  it("are those of the formula at any shape, in any dtype, read in any bands", async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ n, groups, group, bits, grouped, dtype, seed, cuts }) => {
        const k = groups * group;
        const inGroups = grouped && bits === 4;
        const weight = cast(floats(`${NAME}.weight`, [n, k], [...matrix(n, k, seed)]), dtype);
        const values = new Float32Array((await cast(weight, "float32").readRows(0, n)).slice().buffer);
        const want = straightforward(values, n, k, bits, inGroups ? group : k);
        const got = await stored(weight, spec(bits, inGroups ? group : undefined), cuts);

        const columns = (row: number): number[] =>
          Array.from({ length: n }, (_, j) => want.codes[j * k + row] as number);
        const rows = Array.from({ length: k }, (_, row) => (bits === 4 ? packed(columns(row)) : columns(row)));
        expect(got.codes).toMatchObject({ name: `${NAME}.weight`, dtype: "int8", shape: [k, bits === 4 ? n / 2 : n] });
        expect(got.codeBytes.equals(Buffer.from(rows.flat().map(code => code & 255)))).toBe(true);

        const scaleName = inGroups ? "weights_scaling_factor" : "per_channel_scale";
        expect(got.scales).toMatchObject({ name: `${NAME}.${scaleName}`, dtype, shape: inGroups ? [groups, n] : [n] });
        const plain = floats("scales", [want.scales.length], [...want.scales]);
        expect(got.scaleBytes.equals(Buffer.from(await cast(plain, dtype).readRows(0, want.scales.length)))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it("reproduce the weight within half a step, but for the largest positive value of an output", async () => {
    const [n, k] = [989, 19];
    const w = matrix(n, k, 1);
    const { codeBytes, scaleBytes } = await stored(floats(`${NAME}.weight`, [n, k], [...w]), spec(8, undefined));
    const scales = new Float32Array(scaleBytes.buffer, scaleBytes.byteOffset, n);
    const codes = new Int8Array(codeBytes.buffer, codeBytes.byteOffset, n * k);
    for (let row = 0; row < n; row++) {
      const scale = scales[row] as number;
      for (let i = 0; i < k; i++) {
        const value = w[row * k + i] as number;
        const step = value > 127.5 * scale ? 1 : 0.5;
        expect(Math.abs((codes[i * n + row] as number) * scale - value)).toBeLessThanOrEqual(step * scale * 1.0001);
      }
    }
  });

  it("leave every tensor but the five products of a layer as it is", () => {
    for (const name of ["lm_head.weight", "transformer.ln_f.weight", "transformer.layers.3.input_layernorm.weight"]) {
      const recipe = floats(name, [2, 2], [1, 2, 3, 4]);
      expect(weightOnly(spec(8, undefined)).store(recipe, PLACE)).toEqual([recipe]);
    }
  });

  it("stay out of a file whose weights the engine quantizes: the weight is turned, and the scale is there", async () => {
    const [n, k] = [4, 19];
    const w = matrix(n, k, 5);
    const quant = { ...spec(8, undefined), floatWeights: true };
    const { codes, codeBytes, scales } = await stored(floats(`${NAME}.weight`, [n, k], [...w]), quant);
    expect([codes.dtype, codes.shape, scales.shape]).toEqual(["float32", [k, n], [n]]);
    const turned = new Float32Array(codeBytes.buffer, codeBytes.byteOffset, n * k);
    expect([...turned]).toEqual(Array.from({ length: n * k }, (_, i) => w[(i % n) * k + Math.floor(i / n)]));
  });
});

describe("the layouts of TensorRT-LLM's kernels", () => {
  /** preprocess_weights_for_mixed_gemm, step after step on whole matrices of rows k and columns n. */
  function preprocess(codes: readonly (readonly number[])[], bits: number, layout: "sm70" | "sm80" | "sm90"): number[] {
    const order =
      bits === 8
        ? [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]
        : [0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11, 18, 19, 26, 27].concat(
            [0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11, 18, 19, 26, 27].map(row => row + 4),
          );
    const k = codes.length;
    const n = codes[0]?.length ?? 0;
    const rows =
      layout === "sm80"
        ? codes.map((_, r) => codes[r - (r % order.length) + (order[r % order.length] ?? 0)] ?? [])
        : codes;
    const columns = Array.from({ length: n }, (_, j) => rows.map(row => row[j] as number));
    let sequence = columns.flat();
    if (layout === "sm80") {
      const together = bits === 8 ? 2 : 4;
      sequence = [];
      for (let first = 0; first < n; first += together)
        for (let tile = 0; tile < k; tile += 64)
          for (let j = first; j < first + together; j++) sequence.push(...(columns[j]?.slice(tile, tile + 64) ?? []));
    }
    if (layout !== "sm90") {
      const places = bits === 8 ? [0, 2, 1, 3] : [0, 2, 4, 6, 1, 3, 5, 7];
      const unsigned = sequence.map(code => code + 2 ** (bits - 1));
      sequence = unsigned.map((_, i) => {
        const inside = i % places.length;
        return unsigned[i - inside + (places[inside] ?? 0)] as number;
      });
    }
    return bits === 8 ? sequence.map(code => code & 255) : packed(sequence);
  }

  const cases = fc.record({
    n: fc.integer({ min: 1, max: 3 }).map(tiles => 64 * tiles),
    k: fc.integer({ min: 1, max: 3 }).map(tiles => 64 * tiles),
    bits: fc.constantFrom(8, 4),
    layout: fc.constantFrom("sm70" as const, "sm80" as const, "sm90" as const),
    seed: fc.nat(1e6),
    cuts: fc.array(fc.nat(200), { maxLength: 3 }),
  });

  it("have every code where the kernels' own preprocessing puts it", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ n, k, bits, layout, seed, cuts }) => {
        const w = matrix(n, k, seed);
        const { codes } = straightforward(w, n, k, bits, k);
        const rows = Array.from({ length: k }, (_, r) =>
          Array.from({ length: n }, (_, j) => codes[j * k + r] as number),
        );
        const { codeBytes } = await stored(
          floats(`${NAME}.weight`, [n, k], [...w]),
          spec(bits, undefined, layout),
          cuts,
        );
        expect(codeBytes.equals(Buffer.from(preprocess(rows, bits, layout)))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });
});
