import { describe, expect, it } from "vitest";
import { preprocess, tilesIn } from "../../../../src/runtime/image/preprocess.ts";
import { readImageProcessor } from "../../../../src/runtime/image/processor-config.ts";
import { cases, inflateFloats, noise } from "./fixtures.ts";

interface TileCase {
  readonly height: number;
  readonly width: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly tiles: number;
  readonly pixels: string;
}

const FILE = "preprocessor_config.json";
const TYPE = "GotOcr2ImageProcessor";

describe("InternVL's image processor", () => {
  it.each(cases<TileCase>("internvl.json"))(
    "makes the tiles of Hugging Face's, bit for bit: $height × $width as $tiles",
    ({ height, width, config, tiles, pixels }) => {
      const values = preprocess(
        noise(height, width),
        readImageProcessor({ ...config, image_processor_type: TYPE }, FILE),
      );
      expect(tilesIn(values)).toBe(tiles);
      expect([...values.data]).toEqual([...inflateFloats(pixels)]);
    },
  );

  it("reports settings that no image can be cut by", () => {
    const json = { image_processor_type: TYPE, size: { height: 8, width: 9 }, min_patches: 5, max_patches: 2 };
    expect(() => readImageProcessor(json, FILE)).toThrow(/RUN003.*expected a square[\s\S]*min_patches is 5/);
    expect(() => readImageProcessor({ image_processor_type: TYPE, max_patches: 1e9 }, FILE)).toThrow(/max_patches is/);
  });
});
