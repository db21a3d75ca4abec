import { describe, expect, it } from "vitest";
import { awq } from "../../../src/quantize/awq.ts";
import type { Quantizer } from "../../../src/quantize/quantizer.ts";
import { weightOnly } from "../../../src/quantize/weight-only.ts";
import { named, type QuantSpec, sliceColumns, type TensorRecipe, UNQUANTIZED } from "../../../src/tensor/index.ts";

const LAYER = "transformer.layers.0";
const [INPUTS, OUTPUTS, ROWS, GROUP] = [96, 38, 23, 16];

function noise(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Activations with a few large channels, which is what AWQ is for. */
const rows = noise(ROWS * INPUTS, 3).map((value, i) => value * (i % INPUTS === 5 || i % INPUTS === 50 ? 40 : 1));
const weights = noise(OUTPUTS * INPUTS, 9);

const weight: TensorRecipe = {
  name: "w",
  dtype: "float32",
  shape: [OUTPUTS, INPUTS],
  sources: ["w"],
  readRows: async (start, end) => new Uint8Array(weights.slice(start * INPUTS, end * INPUTS).buffer),
};

const base: QuantSpec = { ...UNQUANTIZED, groupSize: GROUP };
const plain = weightOnly({ ...base, quantAlgo: "W4A16_GPTQ" });
const ranges = new Map(
  ["mlp.proj", "attention.dense"].map(name => [
    `${LAYER}.${name}`,
    { x: new Float32Array(INPUTS).fill(1), y: new Float32Array(OUTPUTS), rows: async () => rows },
  ]),
);

/** What one of `tpSize` ranks stores of a row-split product. */
async function stored(quantizer: Quantizer, tpRank: number, tpSize: number): Promise<Map<string, Uint8Array>> {
  const name = `${LAYER}.mlp.proj.weight`;
  const whole = quantizer.prepare?.(name, weight, 0) ?? weight;
  const share = INPUTS / tpSize;
  const part = sliceColumns(whole, tpRank * share, (tpRank + 1) * share);
  const recipes = quantizer.store(named(name, part), { tpRank, tpSize, layer: 0, split: "row" });
  const entries = recipes.map(async recipe => {
    const bytes = Uint8Array.from(await recipe.readRows(0, recipe.shape[0] ?? 1));
    return [recipe.name.split(".").at(-1) as string, bytes] as const;
  });
  return new Map(await Promise.all(entries));
}

/** x · W of what a rank stores, [ROWS, OUTPUTS], by the formula of the graph. */
function product(tensors: Map<string, Uint8Array>, first: number, inputs: number): Float64Array {
  const codes = tensors.get("weight") as Uint8Array;
  const floats = (name: string): Float32Array | undefined => {
    const bytes = tensors.get(name);
    return bytes && new Float32Array(bytes.buffer);
  };
  const scales = floats("weights_scaling_factor") as Float32Array;
  const prequant = floats("prequant_scaling_factor");
  const out = new Float64Array(ROWS * OUTPUTS);
  for (let k = 0; k < inputs; k++) {
    for (let n = 0; n < OUTPUTS; n++) {
      const byte = codes[(k * OUTPUTS + n) >> 1] as number;
      const nibble = n % 2 === 0 ? byte & 15 : byte >> 4;
      const code = nibble > 7 ? nibble - 16 : nibble;
      const w = code * (scales[Math.floor(k / GROUP) * OUTPUTS + n] as number) * (prequant?.[k] ?? 1);
      for (let r = 0; r < ROWS; r++)
        out[r * OUTPUTS + n] = (out[r * OUTPUTS + n] as number) + (rows[r * INPUTS + first + k] as number) * w;
    }
  }
  return out;
}

function errorOf(products: Float64Array): number {
  let error = 0;
  for (let r = 0; r < ROWS; r++) {
    for (let n = 0; n < OUTPUTS; n++) {
      let exact = 0;
      for (let k = 0; k < INPUTS; k++) exact += (rows[r * INPUTS + k] as number) * (weights[n * INPUTS + k] as number);
      error += ((products[r * OUTPUTS + n] as number) - exact) ** 2;
    }
  }
  return error;
}

describe("AWQ", () => {
  const spec: QuantSpec = { ...base, quantAlgo: "W4A16_AWQ", preQuantScale: true };

  it("loses less than half of what plain INT4 loses where a few channels are large", async () => {
    const before = errorOf(product(await stored(plain, 0, 1), 0, INPUTS));
    const after = errorOf(product(await stored(awq(spec, ranges), 0, 1), 0, INPUTS));
    expect(before).toBeGreaterThan(0);
    expect(after).toBeLessThan(before / 2);
  });

  it("gives the ranks of a split product their shares of the same factors and codes", async () => {
    const whole = product(await stored(awq(spec, ranges), 0, 1), 0, INPUTS);
    const half = INPUTS / 2;
    const quantizer = awq(spec, ranges);
    const shares = [await stored(quantizer, 0, 2), await stored(awq(spec, ranges), 1, 2)];
    const [a, b] = shares.map((share, rank) => product(share, rank * half, half)) as [Float64Array, Float64Array];
    for (let i = 0; i < whole.length; i++)
      expect((a[i] as number) + (b[i] as number)).toBeCloseTo(whole[i] as number, 4);
  });

  it("refuses to go on without activations", async () => {
    const without = new Map([...ranges].map(([name, { x, y }]) => [name, { x, y }]));
    await expect(stored(awq(spec, without), 0, 1)).rejects.toThrow(/no activations of .*mlp.proj/);
  });
});
