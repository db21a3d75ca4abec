import { describe, expect, it } from "vitest";
import { readQuantSpec } from "../../../src/quantize/spec.ts";

const read = (section: unknown, layout?: unknown): ReturnType<typeof readQuantSpec> =>
  readQuantSpec({ section, layout, floatWeights: true });

describe("what a converted checkpoint says of its quantization", () => {
  it("is nothing where neither weights nor cache have codes", () => {
    for (const section of [undefined, null, {}, { quant_algo: null, kv_cache_quant_algo: null }])
      expect(read(section)).toBeUndefined();
  });

  it("is read with TensorRT-LLM's values for keys that are absent", () => {
    expect(read({ kv_cache_quant_algo: "FP8" })).toMatchObject({ quantAlgo: null, excludeModules: ["lm_head"] });
    const grouped = { quant_algo: "W4A16_AWQ", group_size: 64, has_zero_point: true, exclude_modules: [] };
    expect(read(grouped, "sm80")).toMatchObject({
      ...{ quantAlgo: "W4A16_AWQ", groupSize: 64, hasZeroPoint: true, preQuantScale: false },
      ...{ smoothquantVal: null, excludeModules: [], weightLayout: "sm80", floatWeights: true },
    });
  });

  it.each<[string, unknown, unknown]>([
    ["quantization is not an object", "INT8", undefined],
    ["quantization is not an object", ["INT8"], undefined],
    ['quant_algo is "W3A16"', { quant_algo: "W3A16" }, undefined],
    ['kv_cache_quant_algo is "INT4"', { kv_cache_quant_algo: "INT4" }, undefined],
    ["group_size is 0", { quant_algo: "FP8", group_size: 0 }, undefined],
    ["group_size is 1.5", { quant_algo: "FP8", group_size: 1.5 }, undefined],
    ["group_size is 2097152", { quant_algo: "FP8", group_size: 2 ** 21 }, undefined],
    ["exclude_modules is not a list of names", { quant_algo: "FP8", exclude_modules: "lm_head" }, undefined],
    ["exclude_modules is not a list of names", { quant_algo: "FP8", exclude_modules: [1] }, undefined],
    [
      "exclude_modules is not a list of names",
      { quant_algo: "FP8", exclude_modules: Array(1025).fill("a") },
      undefined,
    ],
    ['weight_layout is "sm10"', { quant_algo: "FP8" }, "sm10"],
  ])("is refused in words: %s", (message, section, layout) => {
    expect(read(section, layout)).toBe(message);
  });
});
