import { describe, expect, it } from "vitest";
import { unpackCompressed } from "../../../src/quantize/compressed-tensors.ts";
import { PackedModule } from "../../../src/quantize/packed-module.ts";
import type { Dtype, PackedScheme, Shape, StoredTensor, TensorRecipe } from "../../../src/tensor/index.ts";
import { inMemory } from "../../support/tensors.ts";

const SCHEME: PackedScheme = {
  ...{
    method: "compressed-tensors",
    codes: "int8",
    groupSize: null,
    zeroOffset: 0,
    activations: "float",
    kvCache: null,
  },
};
const [N, K] = [3, 16];

type Part = readonly [dtype: Dtype, shape: Shape, values: Int8Array | Int32Array | BigInt64Array | Float32Array];
type Parts = Readonly<Record<string, Part>>;

function moduleOf(parts: Parts): PackedModule {
  const tensors = Object.entries(parts).map(([part, [dtype, shape, values]]): [string, StoredTensor] => {
    const name = `m.${part}`;
    return [name, { ...inMemory(name, dtype, shape, new Uint8Array(values.buffer.slice(0))), at: "w.safetensors" }];
  });
  return new PackedModule("m", new Map(tensors));
}

const CODES: Part = ["int8", [N, K], Int8Array.from({ length: N * K }, (_, i) => i - 19)];
const COLUMN: Part = ["float32", [N, 1], Float32Array.of(0.5, 1, 2)];
const ORDER = (at: (k: number) => number): Part => ["int32", [K], Int32Array.from({ length: K }, (_, k) => at(k))];
/** Groups of 8 inputs each, with a scale. */
const GROUPS: Parts = { weight: CODES, weight_scale: ["float32", [N, 2], new Float32Array(N * 2).fill(1)] };
const GROUPED: PackedScheme = { ...SCHEME, groupSize: 8 };
/** Words of 8 codes whose nibbles are 0 … 7, which stand for −8 … −1. */
const PACKED: Parts = {
  weight_packed: ["int32", [N, 2], new Int32Array(N * 2).fill(0x76543210)],
  weight_scale: COLUMN,
};
const INT4: PackedScheme = { ...SCHEME, codes: "int4" };

async function numbers(recipe: TensorRecipe, as: "int8" | "int16" | "float32"): Promise<number[]> {
  const { buffer } = (await recipe.readRows(0, recipe.shape[0] ?? 0)).slice();
  return [
    ...(as === "int8" ? new Int8Array(buffer) : as === "int16" ? new Int16Array(buffer) : new Float32Array(buffer)),
  ];
}

async function refused(parts: Parts, scheme: PackedScheme): Promise<readonly string[]> {
  const module = moduleOf(parts);
  await unpackCompressed(module, scheme);
  return module.problems.map(({ code, what }) => `${code} ${what}`);
}

describe("a layer of compressed-tensors", () => {
  it.each<[string, Part]>([
    ["int64", ["int64", [2], BigInt64Array.of(3n, 16n)]],
    ["int32", ["int32", [2], Int32Array.of(3, 16)]],
  ])("packed in words has the codes that its shape in %s leaves", async (_, weight_shape) => {
    const linear = await unpackCompressed(moduleOf({ ...PACKED, weight_shape }), INT4);
    expect(linear).toMatchObject({ outputs: N, inputs: K, groups: 1, kind: "int4" });
    const row = [-8, -7, -6, -5, -4, -3, -2, -1];
    expect(linear && (await numbers(linear.codes.recipe, "int8"))).toEqual(Array(6).fill(row).flat());
  });

  it("with one scale for all has it for every output, and as a number", async () => {
    const one: Part = ["float32", [1], Float32Array.of(0.25)];
    const linear = await unpackCompressed(moduleOf({ weight: CODES, weight_scale: one }), SCHEME);
    expect(linear?.weightScale).toBe(0.25);
    expect(linear && (await numbers(linear.scales.recipe, "float32"))).toEqual([0.25, 0.25, 0.25]);
  });

  it("keeps zero points that are some, whether plain or packed in words of four codes, and drops those that are 0", async () => {
    const plain: Part = ["int8", [N, 1], Int8Array.of(0, -3, 7)];
    const words: Part = ["int32", [1, 1], Int32Array.of(0x00877d80)];
    const none: Part = ["int8", [N, 1], new Int8Array(N)];
    const zerosOf = async (weight_zero_point: Part): Promise<number[] | undefined> => {
      const linear = await unpackCompressed(
        moduleOf({ weight: CODES, weight_scale: COLUMN, weight_zero_point }),
        SCHEME,
      );
      return linear?.zeros && numbers(linear.zeros.recipe, "int16");
    };
    expect(await zerosOf(plain)).toEqual([0, -3, 7]);
    // Bytes less 128, the lowest first: 0x80 is 0, 0x7d is −3, 0x87 is 7.
    expect(await zerosOf(words)).toEqual([0, -3, 7]);
    expect(await zerosOf(none)).toBeUndefined();
    expect(await zerosOf(["int8", [1], Int8Array.of(0)])).toBeUndefined();
  });

  it.each<[string, (k: number) => number]>([
    ["whose inputs come as their groups do", k => Math.floor(k / 8)],
    ["without an order of its own, −1 throughout", () => -1],
  ])("%s is taken", async (_, at) => {
    expect(await refused({ ...GROUPS, weight_g_idx: ORDER(at) }, GROUPED)).toEqual([]);
  });

  it.each<[string, Parts, PackedScheme]>([
    ["CKP093 m.weight_g_idx puts the inputs of m", { ...GROUPS, weight_g_idx: ORDER(k => k % 2) }, GROUPED],
    ["CKP092 m has 16 inputs, which are no groups of 5", GROUPS, { ...SCHEME, groupSize: 5 }],
    ["CKP092 m.weight_scale is missing", { weight: CODES }, SCHEME],
    ["CKP092 m.weight is missing", { weight_scale: COLUMN }, SCHEME],
    ["CKP092 m.weight_shape is missing", PACKED, INT4],
    [
      "m.weight_packed is \\[3, 2\\], and weight_shape says 3 outputs and 24 inputs",
      { ...PACKED, weight_shape: ["int32", [2], Int32Array.of(3, 24)] },
      INT4,
    ],
    [
      "m.weight_zero_point is one zero point other than 0",
      { weight: CODES, weight_scale: COLUMN, weight_zero_point: ["int8", [1], Int8Array.of(5)] },
      SCHEME,
    ],
    [
      "m.weight_zero_point is \\[7\\]",
      { weight: CODES, weight_scale: COLUMN, weight_zero_point: ["int8", [7], new Int8Array(7)] },
      SCHEME,
    ],
    [
      "m.input_zero_point is not 0",
      { weight: CODES, weight_scale: COLUMN, input_zero_point: ["int8", [1], Int8Array.of(5)] },
      { ...SCHEME, activations: "static" },
    ],
    ["m.input_scale is missing", { weight: CODES, weight_scale: COLUMN }, { ...SCHEME, activations: "static" }],
  ])("is refused: %s", async (message, parts, scheme) => {
    expect(await refused(parts, scheme)).toContainEqual(expect.stringMatching(message));
  });

  it("has a scale of its inputs where they become codes by it, and none where they stay as they are", async () => {
    const input: Parts = {
      input_scale: ["float32", [1], Float32Array.of(0.125)],
      input_zero_point: ["int8", [1], Int8Array.of(0)],
    };
    const parts = { weight: CODES, weight_scale: COLUMN, ...input };
    const linear = await unpackCompressed(moduleOf(parts), { ...SCHEME, activations: "static" });
    expect(linear?.inputScale).toBe(0.125);
    const module = moduleOf(parts);
    expect((await unpackCompressed(module, { ...SCHEME, activations: "other" }))?.inputScale).toBeUndefined();
    expect([...module.used].sort()).toEqual(["m.input_scale", "m.input_zero_point", "m.weight", "m.weight_scale"]);
  });
});
