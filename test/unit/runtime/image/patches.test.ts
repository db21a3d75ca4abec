import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { decodeImage } from "../../../../src/runtime/image/decode.ts";
import { preprocess } from "../../../../src/runtime/image/preprocess.ts";
import { readImageProcessor } from "../../../../src/runtime/image/processor-config.ts";
import { cases, fixture, noise } from "./fixtures.ts";

interface PatchCase {
  readonly file?: string;
  readonly height?: number;
  readonly width?: number;
  readonly config: Readonly<Record<string, unknown>>;
  /** Frames, rows, columns. */
  readonly grid: readonly [number, number, number];
  readonly columns: number;
  readonly sha256: string;
  readonly first: readonly number[];
}

const FILE = "preprocessor_config.json";
const TYPE = "Qwen2VLImageProcessor";

describe("Qwen VL's image processor", () => {
  for (const { file, height = 0, width = 0, config, grid, columns, sha256, first } of cases<PatchCase>(
    "patches.json",
  )) {
    it(`makes the patches of Hugging Face's, bit for bit: ${file ?? `${height} × ${width}`} as ${grid.join(" × ")}`, async () => {
      const image = file === undefined ? noise(height, width) : await decodeImage(fixture(file));
      const made = preprocess(image, readImageProcessor({ ...config, image_processor_type: TYPE }, FILE));
      const [frames, rows, cols] = grid;
      expect(made.patches).toEqual({ frames, rows, cols });
      expect(made.data.length).toBe(frames * rows * cols * columns);
      expect([...made.data.subarray(0, first.length)]).toEqual(first);
      expect(createHash("sha256").update(new Uint8Array(made.data.buffer)).digest("hex")).toBe(sha256);
    });
  }

  it("reads limits by any of their names, the older keys before size", () => {
    const read = (json: object): unknown => {
      const { patches } = readImageProcessor({ ...json, image_processor_type: `${TYPE}Fast` }, FILE);
      return [patches?.minPixels, patches?.maxPixels];
    };
    expect(read({})).toEqual([3136, 1003520]);
    expect(read({ size: { shortest_edge: 65536, longest_edge: 16777216 } })).toEqual([65536, 16777216]);
    expect(read({ size: { min_pixels: 5000, max_pixels: 9000 } })).toEqual([5000, 9000]);
    expect(read({ min_pixels: 19, size: { shortest_edge: 7, longest_edge: 989 } })).toEqual([19, 989]);
  });

  it("reports settings that no image can be cut by", () => {
    const json = {
      image_processor_type: TYPE,
      min_pixels: 9e9,
      max_pixels: 0,
      merge_size: 1.5,
      patch_size: -1,
      do_resize: false,
      size_divisor: 2,
    };
    const wrong =
      /do_resize is false[\s\S]*patch_size is -1[\s\S]*merge_size is 1.5[\s\S]*min_pixels is 9000000000[\s\S]*max_pixels is 0[\s\S]*size_divisor is a key/;
    expect(() => readImageProcessor(json, FILE)).toThrow(wrong);
    const turned = { image_processor_type: TYPE, min_pixels: 20, max_pixels: 19 };
    expect(() => readImageProcessor(turned, FILE)).toThrow(/min_pixels is 20; expected at most max_pixels, 19/);
  });
});
