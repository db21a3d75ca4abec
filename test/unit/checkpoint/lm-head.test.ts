import { afterAll, describe, expect, it } from "vitest";
import { lmHeadProblems } from "../../../src/checkpoint/lm-head-rules.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../../src/checkpoint/read.ts";
import { fixtureDir } from "../../parity/runtime-fixtures.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";

const HEAD = { use_weight_only: true, quantize_lm_head: true } as const;
const PARALLEL = {
  tpSize: 1,
  ppSize: 1,
  parallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbedding: false,
} as const;

const work = new Workspace();
afterAll(() => work.clean());

describe("quantize_lm_head", () => {
  it.each<[string, Partial<QuantizationOptions>, boolean, boolean, RegExp]>([
    [
      "no format",
      { quantize_lm_head: true },
      false,
      false,
      /no weight-only format.*--use_weight_only --quantize_lm_head/,
    ],
    ["AWQ", { qformat: "int4_awq", quantize_lm_head: true }, false, false, /with W4A16_AWQ/],
    ["SmoothQuant", { smoothquant: 0.5, quantize_lm_head: true }, false, false, /with W8A8_SQ/],
    ["a shared table", HEAD, true, false, /use_embedding_sharing are both set/],
    ["codes of the source", HEAD, false, true, /quantized already/],
  ])("is refused with %s", (_name, options, shareEmbedding, packed, says) => {
    const given = { ...NO_QUANTIZATION, ...options };
    const [problem, ...more] = lmHeadProblems(given, { ...PARALLEL, shareEmbedding }, packed, key => `--${key}`);
    expect(more).toEqual([]);
    expect(`${problem?.code} ${problem?.at} ${problem?.what} ${problem?.fix}`).toMatch(/^CKP081 --quantize_lm_head/);
    expect(`${problem?.what} ${problem?.fix}`).toMatch(says);
  });

  it("is taken with weight-only, and is nothing without being asked for", () => {
    expect(lmHeadProblems({ ...NO_QUANTIZATION, ...HEAD }, PARALLEL, false, key => key)).toEqual([]);
    expect(lmHeadProblems(NO_QUANTIZATION, { ...PARALLEL, shareEmbedding: true }, true, key => key)).toEqual([]);
  });

  it.each([true, false])("decides whether the file has codes for lm_head: %s", async quantize_lm_head => {
    const quantization = { ...NO_QUANTIZATION, use_weight_only: true, quantize_lm_head };
    const dir = await convertTo(work, fixtureDir("models/llava-shapes"), "float32", { quantization });
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.quantization?.excludeModules).toEqual(quantize_lm_head ? [] : ["lm_head"]);
    const tensors = checkpoint.ranks[0]?.tensors;
    expect(tensors?.get("lm_head.weight")?.dtype).toBe(quantize_lm_head ? "int8" : "float32");
    expect(tensors?.has("lm_head.per_channel_scale")).toBe(quantize_lm_head);
    await checkpoint.close();
  });
});
