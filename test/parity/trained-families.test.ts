import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

/** Small trained models: text that is right, from pictures, through the prompt of each family. */
const MODELS = ["blip2-opt-shapes", "blip2-t5-shapes", "vila-shapes", "gpt2-shapes"];
const LIMITS = { max_batch_size: 10, max_input_len: 120, max_seq_len: 120, max_multimodal_len: 360 };
const BATCH = 10;

interface HfAnswer {
  readonly image?: string;
  readonly images?: readonly string[];
  readonly question: string;
  readonly text: string;
  readonly tokens: readonly number[];
}

const work = new Workspace();
afterAll(() => work.clean());

describe.each(MODELS)("the trained %s", name => {
  it("answers every held-out question with the reference's very tokens in float32", { timeout: 120_000 }, async () => {
    const model = fixtureDir(`models/${name}`);
    const { answers } = JSON.parse(await readFile(join(model, "heldout", "expected_hf.json"), "utf8")) as {
      readonly answers: readonly HfAnswer[];
    };
    const assistant = await Assistant.open(await buildTo(work, await convertTo(work, model, "float32"), LIMITS), {
      threads: 2,
    });
    const wrong: unknown[] = [];
    for (let first = 0; first < answers.length; first += BATCH) {
      const batch = answers.slice(first, first + BATCH);
      const questions = await Promise.all(
        batch.map(async ({ question, image, images = image === undefined ? [] : [image] }) => ({
          ids: await assistant.promptIds(question, images.length, "auto"),
          pixels: await Promise.all(images.map(file => assistant.image(join(model, "heldout", file)))),
        })),
      );
      const got = await assistant.ask(questions, { generate: { ...GENERATE_DEFAULTS, maxNewTokens: 30 }, at: "test" });
      for (const [i, { text, tokenIds }] of got.answers.entries()) {
        const want = batch[i] as HfAnswer;
        if (text?.trim() !== want.text || tokenIds.join() !== want.tokens.join())
          wrong.push({ question: want.question, want: want.text, text });
      }
    }
    await assistant.close();
    expect(answers.length).toBeGreaterThanOrEqual(200);
    expect(wrong).toEqual([]);
  });
});
