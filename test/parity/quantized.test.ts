import { afterAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { heldOut, rightAnswers } from "../support/held-out.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

/** LLaVA's prompts are the longest; the positions of the others end before. */
const limitsOf = (name: string) => {
  const length = name.startsWith("llava") ? 240 : 120;
  return { max_batch_size: 10, max_input_len: length, max_seq_len: length, max_multimodal_len: 1000 };
};
const INT8 = { use_weight_only: true } as const;
const INT4 = { use_weight_only: true, weight_only_precision: "int4" } as const;

/** Points of 100 that a format may lose against float32, which answers every held-out question of these models. */
const CASES: readonly (readonly [string, string, Partial<QuantizationOptions>, number])[] = [
  ["llava-shapes", "INT8", INT8, 0.5],
  ["llava-shapes", "INT8 with lm_head", { ...INT8, quantize_lm_head: true }, 0.5],
  ["llava-shapes", "INT4", INT4, 2],
  ["llava-shapes", "INT4 in groups of 32", { ...INT4, group_size: 32 }, 2],
  ["blip2-opt-shapes", "INT8", INT8, 0.5],
  ["blip2-opt-shapes", "INT4", INT4, 2],
  ["blip2-opt-shapes", "INT4 in groups of 16", { ...INT4, group_size: 16 }, 2],
  ["vila-shapes", "INT8", INT8, 0.5],
  ["gpt2-shapes", "INT4 in groups of 16", { ...INT4, group_size: 16 }, 2],
];

const work = new Workspace();
afterAll(() => work.clean());

describe.each(CASES)("the trained %s as %s", (name, _format, quantization, points) => {
  it(`answers at most ${points} of 100 held-out questions worse than in float32`, { timeout: 120_000 }, async () => {
    const model = fixtureDir(`models/${name}`);
    const given = { quantization: { ...NO_QUANTIZATION, ...quantization } };
    const engine = await buildTo(work, await convertTo(work, model, "float32", given), limitsOf(name));
    const answers = await heldOut(name);
    const right = await rightAnswers(engine, name, answers);
    expect(answers.length).toBeGreaterThanOrEqual(200);
    expect(100 - (100 * right) / answers.length).toBeLessThanOrEqual(points);
  });
});
