import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

/** LLaVA's prompts are the longest; the positions of the others end before. */
const limitsOf = (name: string) => {
  const length = name.startsWith("llava") ? 240 : 120;
  return { max_batch_size: 10, max_input_len: length, max_seq_len: length, max_multimodal_len: 1000 };
};
const BATCH = 10;

interface Answer {
  readonly image?: string;
  readonly images?: readonly string[];
  readonly question: string;
  readonly text: string;
}

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
    const { answers } = JSON.parse(await readFile(join(model, "heldout", "expected_hf.json"), "utf8")) as {
      readonly answers: readonly Answer[];
    };
    const given = { quantization: { ...NO_QUANTIZATION, ...quantization } };
    const engine = await buildTo(work, await convertTo(work, model, "float32", given), limitsOf(name));
    const assistant = await Assistant.open(engine, { threads: 2 });
    const right = await rightAnswers(assistant, model, answers);
    await assistant.close();
    expect(answers.length).toBeGreaterThanOrEqual(200);
    expect(100 - (100 * right) / answers.length).toBeLessThanOrEqual(points);
  });
});

async function rightAnswers(assistant: Assistant, model: string, answers: readonly Answer[]): Promise<number> {
  let right = 0;
  for (let first = 0; first < answers.length; first += BATCH) {
    const batch = answers.slice(first, first + BATCH);
    const questions = await Promise.all(
      batch.map(async ({ question, image, images = image === undefined ? [] : [image] }) => ({
        ids: await assistant.promptIds(question, images.length, "auto"),
        pixels: await Promise.all(images.map(file => assistant.image(join(model, "heldout", file)))),
      })),
    );
    const got = await assistant.ask(questions, { generate: { ...GENERATE_DEFAULTS, maxNewTokens: 30 }, at: "test" });
    right += got.answers.filter(({ text }, i) => text?.trim() === batch[i]?.text).length;
  }
  return right;
}
