import { describe, expect, it } from "vitest";
import type { PixelValues } from "../../../src/runtime/image/preprocess.ts";
import { hashOfImage } from "../../../src/runtime/reuse/keys.ts";
import { arrangeFeatures } from "../../../src/runtime/visual/arrange.ts";
import { tokensBeside, tokensOf, type VisualTokenRule } from "../../../src/vision/index.ts";

/** Two tiles of 2 × 2 features side by side, or one: at most one tile's features are kept. */
const RULE: VisualTokenRule = {
  ...{ kind: "anyres", tile: 4, side: 2, max_tiles: 1, squares_several: true },
  grids: [
    [1, 1],
    [1, 2],
  ],
};
const PIXELS = { height: 4, width: 4, data: new Float32Array(0) };
const WIDE: PixelValues = { ...PIXELS, tokens: tokensOf(RULE, { width: 8, height: 4 }) };
const SMALL: PixelValues = { ...PIXELS, tokens: tokensOf(RULE, { width: 4, height: 4 }) };

function encoded(tiles: number): Parameters<typeof arrangeFeatures>[2] {
  const values = Float32Array.from({ length: tiles * 4 }, (_, row) => row);
  return { features: { rows: values.length, hidden: 1, values }, newline: Float32Array.of(-1), perTile: 4 };
}

describe("Features of tiles", () => {
  it("become rows of the prompt table, image after image, each line ended by the newline", () => {
    const { rows, values, imageRows } = arrangeFeatures(RULE, [SMALL, WIDE], encoded(5));
    // The wide one's 2 × 4 features are resized to 1 × 2: each the mean of the four about its place.
    expect([...values]).toEqual([0, 1, 2, 3, 4, 5, -1, 6, 7, -1, 8, 9, 10, 11, 13.5, 17.5, -1]);
    expect([rows, imageRows]).toEqual([17, [10, 7]]);
  });

  it("of a single tile are followed by one newline", () => {
    const square = { ...PIXELS, tokens: tokensBeside(RULE) as NonNullable<ReturnType<typeof tokensBeside>> };
    expect([...arrangeFeatures(RULE, [square], encoded(1)).values]).toEqual([0, 1, 2, 3, -1]);
  });

  it("stay as they come for models of another kind", () => {
    const { features, ...rest } = encoded(2);
    expect(arrangeFeatures(undefined, [], { features, ...rest })).toBe(features);
  });

  it("are refused of an engine without a newline, or with other tiles than the rule's", () => {
    const make = (changes: object) => (): unknown => arrangeFeatures(RULE, [SMALL], { ...encoded(2), ...changes });
    expect(make({ newline: undefined })).toThrow(/RUN011.*image_newline of 0 values/);
    expect(make({ newline: new Float32Array(2) })).toThrow(/RUN011.*of 2 values beside features of 1/);
    expect(make({ perTile: 1 })).toThrow(/RUN011.*1 features of a tile, not 4/);
  });
});

describe("The hash of an image", () => {
  it("tells bars from black pixels of the picture, where all tiles are the same", () => {
    const data = new Float32Array(2 * 3 * 16);
    const strip = { ...PIXELS, data, tokens: tokensOf(RULE, { width: 4, height: 1 }) };
    expect(hashOfImage({ ...SMALL, data })).not.toBe(hashOfImage(strip));
    expect(hashOfImage(strip)).toBe(hashOfImage({ ...strip }));
  });
});
