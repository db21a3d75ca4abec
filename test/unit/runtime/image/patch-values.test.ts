import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../../../src/formats/safetensors.ts";
import { readPixelValues } from "../../../../src/runtime/image/load.ts";
import type { TensorRecipe } from "../../../../src/tensor/index.ts";
import type { PatchesRule } from "../../../../src/vision/index.ts";
import { floats, inMemory } from "../../../support/tensors.ts";

/** 3 numbers a patch. */
const RULE: PatchesRule = {
  ...{ kind: "patches", patch: 1, merge: 2, temporal_patch: 1 },
  ...{ min_pixels: 4, max_pixels: 400 },
};

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-patches-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function grids(values: readonly number[], dtype: "int32" | "int64" = "int64"): TensorRecipe {
  const data = dtype === "int64" ? BigInt64Array.from(values, BigInt) : Int32Array.from(values);
  return inMemory("image_grid_thw", dtype, [values.length / 3, 3], new Uint8Array(data.buffer));
}

async function file(sizes?: TensorRecipe, numbers = 3): Promise<string> {
  const path = join(dir, "pixels.safetensors");
  const values = Array.from({ length: 20 * numbers }, (_, i) => Math.floor(i / numbers));
  await writeSafetensors(path, [floats("pixel_values", [20, numbers], values), ...(sizes ? [sizes] : [])]);
  return path;
}

describe("Preprocessed patches", () => {
  it.each(["int32", "int64"] as const)("are dealt out to their images by the grid of each, of %s", async dtype => {
    const images = await readPixelValues(await file(grids([1, 2, 4, 1, 6, 2], dtype)), RULE);
    expect(images.map(({ patches }) => patches)).toEqual([
      { frames: 1, rows: 2, cols: 4 },
      { frames: 1, rows: 6, cols: 2 },
    ]);
    expect(images.map(({ tokens }) => tokens?.features)).toEqual([2, 3]);
    expect([images[0]?.data.at(-1), images[1]?.data[0], images[1]?.data.length]).toEqual([7, 8, 36]);
    expect([images[1]?.height, images[1]?.width]).toEqual([6, 2]);
  });

  it.each([
    ["without grids", undefined, /image_grid_thw .* is missing; expected int64 \[images, 3\]/],
    ["with grids of fewer patches", grids([1, 2, 4]), /has 20 patches; image_grid_thw says 8/],
    ["with grids of parts of a feature", grids([1, 4, 5]), /holds 1 × 4 × 5; expected one frame of whole features/],
    ["with frames of a video", grids([2, 2, 4, 1, 2, 2]), /holds 2 × 2 × 4; expected one frame/],
    ["with a grid beyond the file", grids([1, 2, 2 ** 40]), /holds 1 × 2 × 1099511627776/],
    ["with a grid of nothing", grids([1, 0, 4]), /holds 1 × 0 × 4/],
  ])("%s are refused", async (_, sizes, says) => {
    await expect(readPixelValues(await file(sizes), RULE)).rejects.toThrow(says);
  });

  it("of another patch size are refused", async () => {
    await expect(readPixelValues(await file(grids([1, 4, 5]), 4), RULE)).rejects.toThrow(
      /RUN018.*pixel_values .* is float32 \[20, 4\]; expected float32 \[patches, 3\]/,
    );
  });
});
