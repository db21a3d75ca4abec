import { describe, expect, it } from "vitest";
import { preprocess, tilesIn } from "../../../../src/runtime/image/preprocess.ts";
import { readImageProcessor } from "../../../../src/runtime/image/processor-config.ts";
import { cases, inflateFloats, noise } from "./fixtures.ts";

interface TileCase {
  readonly height: number;
  readonly width: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly several: boolean;
  readonly tiles: number;
  readonly pixels: string;
}

const FILE = "preprocessor_config.json";
const TILES = cases<TileCase>("anyres.json");

describe("LLaVA-NeXT's and LLaVA-OneVision's image processors", () => {
  it.each(TILES)(
    "make the tiles of Hugging Face's Pillow processor, bit for bit: $height × $width as $tiles",
    ({ height, width, config, several, tiles, pixels }) => {
      const values = preprocess(noise(height, width), readImageProcessor(config, FILE), several);
      expect(tilesIn(values)).toBe(tiles);
      expect([...values.data]).toEqual([...inflateFloats(pixels)]);
    },
  );

  it("cut one of several images of a prompt like any other in LLaVA-NeXT", () => {
    const [{ height, width, config, tiles } = {} as TileCase] = TILES;
    expect(tilesIn(preprocess(noise(height, width), readImageProcessor(config, FILE), true))).toBe(tiles);
  });

  it("are read from published files", () => {
    const pixels = { do_convert_rgb: true, do_normalize: true, do_pad: true, do_rescale: true, do_resize: true };
    const next = {
      ...{ ...pixels, image_processor_type: "LlavaNextImageProcessor", aspect_ratio_setting: "anyres" },
      ...{ crop_size: { height: 336, width: 336 }, do_center_crop: true, size: { shortest_edge: 336 }, resample: 3 },
      image_grid_pinpoints: [
        [336, 672],
        [672, 336],
        [672, 672],
        [1008, 336],
        [336, 1008],
      ],
      processor_class: "LlavaNextProcessor",
    };
    const grids = [
      [1, 2],
      [2, 1],
      [2, 2],
      [3, 1],
      [1, 3],
    ];
    expect(readImageProcessor(next, FILE)).toMatchObject({ tiles: { tile: 336, grids }, backend: "pillow" });
    const { image_grid_pinpoints: _, ...bare } = next;
    expect(readImageProcessor(bare, FILE)).toMatchObject({ tiles: { grids } });

    const half = [0.5, 0.5, 0.5];
    const onevision = {
      ...{ ...pixels, image_processor_type: "LlavaOnevisionImageProcessorFast", size: { height: 384, width: 384 } },
      ...{ image_mean: half, image_std: half, rescale_factor: 1 / 255, processor_class: "LlavaOnevisionProcessor" },
    };
    const config = readImageProcessor(onevision, FILE);
    expect(config).toMatchObject({ tiles: { tile: 384, squareSeveral: [127, 127, 127] }, backend: "torchvision" });
    expect(config.tiles).toMatchObject({ grids: expect.objectContaining({ length: 36 }) });
  });

  it("are refused with settings that no image can be cut by", () => {
    const json = {
      ...{ image_processor_type: "LlavaNextImageProcessor", size: { height: 8, width: 9 }, crop_size: 16 },
      ...{
        aspect_ratio_setting: "pad",
        image_grid_pinpoints: [
          [8, 16],
          [12, 8],
        ],
        fps: 1,
      },
    };
    const read = (): unknown => readImageProcessor(json, FILE);
    expect(read).toThrow(/RUN003.*size is .*expected a square[\s\S]*crop_size is 16, but size is 8/);
    expect(read).toThrow(/aspect_ratio_setting is "pad"[\s\S]*image_grid_pinpoints is \[\[8,16\],\[12,8\]\]/);
    expect(read).toThrow(/fps is a key this version does not know/);
  });

  it.each([[[]], [["8"]], [[[8]]], [[[0, 8]]], [7], [new Array(129).fill([8, 8])]])(
    "are refused with image_grid_pinpoints %j",
    image_grid_pinpoints => {
      const json = { image_processor_type: "LlavaNextImageProcessor", size: 8, crop_size: 8, image_grid_pinpoints };
      expect(() => readImageProcessor(json, FILE)).toThrow(/RUN003.*image_grid_pinpoints is/);
    },
  );
});
