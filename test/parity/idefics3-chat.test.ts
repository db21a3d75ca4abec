import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { promptItem, type Question } from "../../src/runtime/answer.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { placeImages } from "../../src/runtime/prompt.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const MODEL = fixtureDir("parity/idefics3_chat");

interface Item {
  readonly question: string;
  readonly images: readonly string[];
  readonly input_ids: readonly number[];
  readonly tokens: readonly number[];
}

const ITEMS = JSON.parse(readFileSync(join(MODEL, "chat.json"), "utf8")) as readonly Item[];
const LIMITS = { max_batch_size: 3, max_input_len: 160, max_seq_len: 200 };

const work = new Workspace();
afterAll(() => work.clean());

describe("Pictures of several sizes in one batch, with a prompt that has none", () => {
  let checkpoint = "";
  let assistant: Assistant;
  let questions: readonly Question[] = [];
  beforeAll(async () => {
    checkpoint = await convertTo(work, MODEL, "float32");
    assistant = await Assistant.open(await buildTo(work, checkpoint, LIMITS), { threads: 1 });
    questions = await Promise.all(ITEMS.map(item => asked(assistant, item)));
  });
  afterAll(() => assistant.close());

  const asked = (one: Assistant, { question, images }: Item): Promise<Question> =>
    one.question(
      question,
      images.map(name => fixtureDir(`image/${name}`)),
      "auto",
    );
  const generate = { ...GENERATE_DEFAULTS, maxNewTokens: 24, minNewTokens: 24 };
  const answers = async (one: Assistant, batch: readonly Question[]): Promise<readonly (readonly number[])[]> => {
    const { answers } = await one.ask(batch, { generate, at: "test" });
    return answers.map(({ tokenIds }) => tokenIds);
  };

  it("have the prompts of Hugging Face's processor, rows and columns of tiles included", () => {
    expect(questions.map(({ ids }) => ids)).toEqual(ITEMS.map(({ input_ids }) => input_ids));
    const { tableRows } = placeImages(questions.map(promptItem), assistant.session.engine.manifest.model, "test");
    const image = assistant.session.engine.manifest.model.image_token_id;
    expect(tableRows).toBe(questions.flatMap(({ ids }) => ids).filter(id => id === image).length);
  });

  it("have transformers' answers, token by token, together and one by one", async () => {
    const expected = ITEMS.map(({ tokens }) => tokens);
    expect(await answers(assistant, questions)).toEqual(expected);
    for (const [i, question] of questions.entries())
      expect(await answers(assistant, [question])).toEqual([expected[i]]);
  });

  it("have the same answers where the visual engine takes fewer tiles at a time than an image has", async () => {
    const engine = await buildTo(work, checkpoint, { ...LIMITS, max_visual_batch: 3 });
    const few = await Assistant.open(engine, { threads: 1 });
    expect(few.session.engine.visual?.profiles[0]?.shapes.input?.max[0]).toBe(3);
    expect(await answers(few, await Promise.all(ITEMS.map(item => asked(few, item))))).toEqual(
      ITEMS.map(({ tokens }) => tokens),
    );
    await few.close();
  });

  it("have the same answers where prefixes and features are reused", async () => {
    const engine = await buildTo(work, checkpoint, {
      ...LIMITS,
      use_paged_context_fmha: true,
      max_num_tokens: 48,
      tokens_per_block: 8,
    });
    const reusing = await Assistant.open(engine, { threads: 1, reuseBytes: 1 << 22 });
    const both = await Promise.all(ITEMS.map(item => asked(reusing, item)));
    for (let round = 0; round < 2; round++)
      expect(await answers(reusing, both)).toEqual(ITEMS.map(({ tokens }) => tokens));
    expect(reusing.session.reuse?.reusedTokens).toBeGreaterThan(100);
    await reusing.close();
  });

  it("are refused where the table has fewer rows than their features", async () => {
    const engine = await buildTo(work, checkpoint, { ...LIMITS, max_batch_size: 1, max_multimodal_len: 39 });
    const small = await Assistant.open(engine, { threads: 1 });
    const two = await asked(small, ITEMS[2] as Item);
    await expect(small.ask([two], { generate, at: "--image" })).rejects.toThrow(/RUN010.*rows is 56/);
    await small.close();
  });

  it("are refused as ids that lack the markers of tiles", async () => {
    const ids = questions[0]?.ids ?? [];
    const image = Number(assistant.session.engine.manifest.model.image_token_id);
    const bare = ids.filter((id, i) => id !== image || ids.indexOf(image) === i);
    await expect(
      assistant.ask([{ ids: bare, pixels: questions[0]?.pixels ?? [] }], { generate, at: "--input_ids" }),
    ).rejects.toThrow(/RUN012.*1 image placeholders for 1 images; expected 40, one a feature/);
  });

  it("are refused when the processor's file was changed after the build", async () => {
    const dir = await buildTo(work, checkpoint, LIMITS);
    const file = join(dir, "tokenizer", "preprocessor_config.json");
    await writeFile(file, readFileSync(file, "utf8").replace("54", "90"));
    const other = await Assistant.open(dir, { threads: 1 });
    await expect(other.image(fixtureDir("image/rgb-61x43.png"))).rejects.toThrow(
      /RUN017.*makes 21 tiles.*built for 10/,
    );
    await other.close();
  });
});
