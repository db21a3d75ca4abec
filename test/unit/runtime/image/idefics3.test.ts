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

describe.each(["Idefics3ImageProcessor", "SmolVLMImageProcessor"])("%s", type => {
  it.each(cases<TileCase>("idefics3.json"))(
    "makes the tiles of Hugging Face's Pillow processor, bit for bit: $height × $width as $tiles",
    ({ height, width, config, tiles, pixels }) => {
      const values = preprocess(
        noise(height, width),
        readImageProcessor({ ...config, image_processor_type: type }, FILE),
      );
      expect(tilesIn(values)).toBe(tiles);
      expect([...values.data]).toEqual([...inflateFloats(pixels)]);
    },
  );

  it("reads the settings of published files", () => {
    const json = {
      ...{
        image_processor_type: type,
        do_convert_rgb: true,
        do_image_splitting: true,
        do_normalize: true,
        do_pad: true,
      },
      ...{ do_rescale: true, do_resize: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], resample: 1 },
      ...{ max_image_size: { longest_edge: 512 }, size: { longest_edge: 2048 }, rescale_factor: 1 / 255 },
      ...{ processor_class: "SmolVLMProcessor", video_sampling: { fps: 1, max_frames: 64 } },
    };
    expect(readImageProcessor(json, FILE)).toMatchObject({
      tiles: { longestEdge: 2048, tile: 512, splits: true },
      resample: "lanczos",
      backend: "pillow",
    });
  });

  it("reports settings that no image can be cut by", () => {
    const json = {
      image_processor_type: type,
      size: 512,
      max_image_size: { longest_edge: 0 },
      do_resize: false,
      fps: 1,
    };
    const read = (): unknown => readImageProcessor(json, FILE);
    expect(read).toThrow(/RUN003.*size.longest_edge is undefined[\s\S]*max_image_size.longest_edge is 0/);
    expect(read).toThrow(/do_resize is false[\s\S]*fps is a key this version does not know/);
  });
});
