import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { tensorDifferences } from "../../../src/build/diff/tensors.ts";
import { FilePool } from "../../../src/formats/file.ts";
import { writeSafetensors } from "../../../src/formats/safetensors.ts";
import type { TensorRecipe } from "../../../src/tensor/index.ts";
import { tempFolder } from "../../support/temp-folder.ts";
import { floats, inMemory } from "../../support/tensors.ts";

const pool = new FilePool();
afterAll(() => pool.close());

async function differences(a: readonly TensorRecipe[], b: readonly TensorRecipe[]): Promise<readonly string[]> {
  const files = ["a", "b"].map(name => join(tempFolder("diff"), `${name}.safetensors`)) as [string, string];
  await writeSafetensors(files[0], a, {});
  await writeSafetensors(files[1], b, {});
  return tensorDifferences(pool, ...files, new AbortController().signal);
}

const bytes = (name: string, dtype: "int4" | "int8", values: readonly number[]): TensorRecipe =>
  inMemory(name, dtype, [dtype === "int4" ? values.length * 2 : values.length], Uint8Array.from(values));

describe("differences of tensors", () => {
  it("are those that are new, gone, of another form or of other values, by name", async () => {
    const a = [floats("b", [3], [1, 2, 3]), floats("gone", [1], [1]), floats("form", [2, 2], [1, 2, 3, 4])];
    const b = [floats("form", [4], [1, 2, 3, 4]), floats("b", [3], [1, 2.5, 2.75]), floats("a", [1], [0])];
    expect(await differences(a, b)).toEqual([
      "tensor a is new",
      "tensor b: 2 of 3 values differ, by at most 0.5",
      expect.stringMatching(/^tensor form float32 .*2.*2.* → float32 .*4/),
      "tensor gone is gone",
    ]);
  });

  it("of codes are counted in bytes, without a distance", async () => {
    expect(await differences([bytes("w", "int8", [1, 2, 3])], [bytes("w", "int8", [1, 5, 3])])).toEqual([
      "tensor w: 1 of 3 bytes differ",
    ]);
  });

  it("count a NaN that stays as no change, and one that comes as a change of no size", async () => {
    const [a, b] = [
      [Number.NaN, 1],
      [Number.NaN, Number.NaN],
    ];
    expect(await differences([floats("w", [2], a)], [floats("w", [2], b)])).toEqual([
      "tensor w: 1 of 2 values differ, by at most 0",
    ]);
  });

  it("may lie outside of tensors", async () => {
    const [x, y] = [floats("x", [1], [1]), floats("y", [1], [2])];
    expect(await differences([x, y], [y, x])).toEqual(["the same tensors in another order or with other metadata"]);
  });
});
