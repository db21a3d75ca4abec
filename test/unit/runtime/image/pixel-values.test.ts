import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../../../src/formats/safetensors.ts";
import { readPixelValues } from "../../../../src/runtime/image/load.ts";
import { tilesIn } from "../../../../src/runtime/image/preprocess.ts";
import type { TensorRecipe } from "../../../../src/tensor/index.ts";
import type { VisualTokenRule } from "../../../../src/vision/index.ts";
import { floats, inMemory } from "../../../support/tensors.ts";

const RULE: VisualTokenRule = {
  ...{ kind: "longest_edge_tiles", longest_edge: 6, tile: 2, splits: true },
  ...{ features_per_tile: 3, patches_per_tile: 9 },
};

let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-pixels-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function sizes(shape: readonly number[], values: readonly number[]): TensorRecipe {
  return inMemory("image_sizes", "int32", shape, new Uint8Array(Int32Array.from(values).buffer));
}

async function file(tiles: number, ...others: readonly (TensorRecipe | undefined)[]): Promise<string> {
  const values = Array.from({ length: tiles * 12 }, (_, i) => Math.floor(i / 12));
  const path = join(dir, "pixels.safetensors");
  await writeSafetensors(path, [
    floats("pixel_values", [tiles, 3, 2, 2], values),
    ...others.filter(other => other !== undefined),
  ]);
  return path;
}

/** Of a model that sees each of several images of a prompt as one tile. */
const GRIDS: VisualTokenRule = { kind: "anyres", tile: 2, side: 2, grids: [[1, 1]], squares_several: true };

function together(...counts: readonly number[]): TensorRecipe {
  return inMemory("batch_num_images", "int32", [counts.length], new Uint8Array(Int32Array.from(counts).buffer));
}

describe("Preprocessed tiles", () => {
  it("are dealt out to the images that they were cut from", async () => {
    // 1 × 3 tiles and the whole, then 3 × 3 and the whole.
    const images = await readPixelValues(await file(14, sizes([2, 2], [2, 19, 989, 989])), RULE);
    expect(images.map(tilesIn)).toEqual([4, 10]);
    expect(images.map(({ tokens }) => tokens?.features)).toEqual([12, 30]);
    expect([images[0]?.data[0], images[1]?.data[0], images[1]?.data.at(-1)]).toEqual([0, 4, 13]);
  });

  it("are images of their own for a model of one size", async () => {
    const images = await readPixelValues(await file(3));
    expect(images.map(image => [tilesIn(image), image.tokens])).toEqual([
      [1, undefined],
      [1, undefined],
      [1, undefined],
    ]);
  });

  it("are one of each image that its prompt has several of, as batch_num_images says", async () => {
    const three = sizes([3, 2], [5, 7, 7, 5, 1, 1]);
    const images = await readPixelValues(await file(4, three, together(0, 2, 1)), GRIDS);
    expect(images.map(image => [tilesIn(image), image.tokens?.features])).toEqual([
      [1, 5],
      [1, 5],
      [2, 10],
    ]);
    await expect(readPixelValues(await file(4, three, together(2, 2)), GRIDS)).rejects.toThrow(/RUN018.*add up to 3/);
    await expect(readPixelValues(await file(4, three, together(1, 1, 1, 0)), GRIDS)).rejects.toThrow(
      /int32 \[prompts\]/,
    );
    await expect(readPixelValues(await file(4, three), GRIDS)).rejects.toThrow(/has 4 tiles; .* have 6/);
  });

  it.each([
    ["without sizes", undefined, /image_sizes .* is missing; expected int32 \[images, 2\]/],
    ["with sizes of another shape", sizes([4], [1, 1, 1, 1]), /image_sizes .* is int32 \[4\]/],
    ["with a size of zero", sizes([1, 2], [0, 5]), /holds 0; expected 1 to 65535/],
    ["with sizes of fewer tiles", sizes([1, 2], [2, 19]), /has 14 tiles; images of these sizes have 4/],
  ])("%s are refused", async (_, image_sizes, says) => {
    await expect(readPixelValues(await file(14, image_sizes), RULE)).rejects.toThrow(says);
  });
});
