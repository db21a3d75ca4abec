import { describe, expect, it } from "vitest";
import { decodeImage } from "../../../../src/runtime/image/decode.ts";
import { preprocess } from "../../../../src/runtime/image/preprocess.ts";
import { readImageProcessor } from "../../../../src/runtime/image/processor-config.ts";
import { cases, fixture, inflate, inflateFloats } from "./fixtures.ts";

interface ProcessCase {
  readonly name: string;
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly shape: readonly [number, number, number];
  readonly pil: string;
  readonly fast: string;
}

const CASES = cases<ProcessCase>("process.json");
const FILE = "preprocessor_config.json";

function worst(actual: Float32Array, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  return actual.reduce((max, value, i) => Math.max(max, Math.abs(value - (expected[i] as number))), 0);
}

describe("preprocessing", () => {
  it.each(CASES)(
    "equals Hugging Face's Pillow processor bit for bit: $name, $file",
    async ({ file, config, shape, pil }) => {
      const values = preprocess(await decodeImage(fixture(file)), readImageProcessor(config, FILE));
      expect([3, values.height, values.width]).toEqual(shape);
      expect(worst(values.data, inflateFloats(pil))).toBe(0);
    },
  );

  it.each(CASES)(
    "is within one step of 255 of the torchvision processor: $name, $file",
    async ({ file, config, fast }) => {
      const type = `${config.image_processor_type}Fast`;
      const plain = { ...config, image_processor_type: type, do_rescale: false, do_normalize: false };
      const values = preprocess(await decodeImage(fixture(file)), readImageProcessor(plain, FILE));
      expect(worst(values.data, inflate(fast))).toBeLessThanOrEqual(1);
    },
  );

  it("resizes a strip 989 times as long as it is wide in the time of the crop", async () => {
    const config = readImageProcessor({ size: 4096, crop_size: 8, image_processor_type: "CLIPImageProcessor" }, FILE);
    const image = { width: 1, height: 65_535, data: new Uint8Array(65_535 * 3).fill(7) };
    expect(preprocess(image, config)).toMatchObject({ height: 8, width: 8 });
  });

  it("refuses to pad a strip to a square that no memory holds", () => {
    const config = readImageProcessor({ image_processor_type: "LlavaImageProcessor", do_pad: true }, FILE);
    const strip = { width: 1, height: 65_535, data: new Uint8Array(65_535 * 3) };
    expect(() => preprocess(strip, config)).toThrow(/RUN002.*65535 × 65535/);
  });
});

describe("an image processor's configuration", () => {
  it("reports every unusable key at once, unknown keys included", () => {
    const json = {
      image_processor_type: "CLIPImageProcessor",
      size: { longest_edge: 3 },
      crop_size: -4,
      resample: 17,
      image_mean: [0.5, 0.5],
      image_std: [1, 0, 1],
      do_resize: "yes",
      rescale_factor: null,
      do_sharpen: true,
    };
    const message = (): unknown => readImageProcessor(json, FILE);
    for (const key of ["size", "crop_size", "resample", "image_mean", "image_std", "do_resize", "do_sharpen"]) {
      expect(message).toThrow(new RegExp(`RUN003.*${key} .*${FILE}: ${key}`));
    }
  });

  it("of Gemma 3 takes pictures whole: crops of long ones are refused, and their limits mean nothing without them", () => {
    const json = {
      image_processor_type: "Gemma3ImageProcessor",
      size: { height: 28, width: 28 },
      do_pan_and_scan: null,
      pan_and_scan_max_num_crops: 4,
    };
    expect(readImageProcessor(json, FILE)).toMatchObject({
      resize: { height: 28, width: 28 },
      resample: "bilinear",
      normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
    });
    const cropping = (): unknown => readImageProcessor({ ...json, do_pan_and_scan: true }, FILE);
    expect(cropping).toThrow(/RUN003.*do_pan_and_scan is true, which adds crops of long images.*expected false/s);
    expect(() => readImageProcessor({ ...json, image_processor_type: "CLIPImageProcessor" }, FILE)).toThrow(
      /RUN003.*pan_and_scan/s,
    );
  });

  it("fills in the class's defaults, and reads the names of older and newer versions", () => {
    const fast = readImageProcessor({ image_processor_type: "CLIPImageProcessorFast" }, FILE);
    const old = readImageProcessor({ feature_extractor_type: "CLIPFeatureExtractor" }, FILE);
    expect(old).toEqual({ ...fast, backend: "pillow" });
    expect(old).toMatchObject({
      resize: { shortest: 224 },
      crop: { height: 224, width: 224 },
      resample: "bicubic",
      rescale: 1 / 255,
    });
    expect(readImageProcessor({ image_processor_type: "SiglipImageProcessor" }, FILE)).toMatchObject({
      resize: { height: 224, width: 224 },
    });
  });

  it("does not take another family's processor for CLIP's", () => {
    for (const type of ["MllamaImageProcessor", "constructor", "ViTImageProcessor"]) {
      expect(() => readImageProcessor({ image_processor_type: type }, FILE)).toThrow(new RegExp(`RUN004.*${type}`));
    }
  });
});
