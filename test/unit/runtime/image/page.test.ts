import { expect, it } from "vitest";
import { preprocess } from "../../../../src/runtime/image/preprocess.ts";
import { readImageProcessor } from "../../../../src/runtime/image/processor-config.ts";
import { rgbImage } from "../../../../src/runtime/image/rgb.ts";
import { readReference } from "../../../support/reference.ts";

/** Made by test/reference/make_page_fixtures.py. */
const FILE = new URL("../../../fixtures/image/pages.safetensors", import.meta.url).pathname;
const config = readImageProcessor(
  { image_processor_type: "NougatImageProcessor", size: { height: 36, width: 27 } },
  "preprocessor_config.json",
);

it.each([0, 1, 2, 3])("fits page %i into the encoder's picture as transformers' Nougat processor does", async i => {
  const reference = await readReference(FILE);
  const [page, want] = [reference.get(`page${i}`), reference.get(`pixels${i}`)];
  const [height = 0, width = 0] = page?.shape ?? [];
  const got = preprocess(rgbImage(width, height, Uint8Array.from(page?.values ?? [])), config);
  expect([got.height, got.width]).toEqual([36, 27]);
  const worst = got.data.reduce((most, value, at) => Math.max(most, Math.abs(value - (want?.values[at] ?? NaN))), 0);
  expect(worst).toBeLessThanOrEqual(1e-6);
});

it("refuses a strip that would lose its text", () => {
  const strip = rgbImage(3, 400);
  strip.data[0] = 255;
  expect(() => preprocess(strip, config)).toThrow(/RUN021/);
});

it.each([
  ["do_thumbnail", false],
  ["do_pad", false],
  ["do_align_long_axis", true],
])("refuses %s %s", (key, value) => {
  const json = { image_processor_type: "NougatImageProcessor", [key]: value };
  expect(() => readImageProcessor(json, "preprocessor_config.json")).toThrow(new RegExp(`RUN003.*${key}`));
});
