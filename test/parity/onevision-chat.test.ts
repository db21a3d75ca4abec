import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Question } from "../../src/runtime/answer.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { readReference } from "../../src/runtime/reference.ts";
import type { Session } from "../../src/runtime/session.ts";
import { verify } from "../../src/runtime/verify.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const MODEL = fixtureDir("parity/onevision_chat");

interface Item {
  readonly question: string;
  readonly images: readonly string[];
  readonly input_ids: readonly number[];
  readonly tokens: readonly number[];
}

/** Made by test/reference/make_onevision_chat_fixture.py: one picture, none, and two that are square tiles. */
const ITEMS = JSON.parse(readFileSync(join(MODEL, "chat.json"), "utf8")) as readonly Item[];
const LIMITS = { max_batch_size: 3, max_input_len: 160, max_seq_len: 200 };

const work = new Workspace();
afterAll(() => work.clean());

describe("Pictures in grids of tiles, several of a prompt as squares, and a prompt that has none", () => {
  let checkpoint = "";
  let assistant: Assistant<Session>;
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
  /** As ids have it that a processor made: a placeholder for each feature. */
  const repeated = ({ ids, pixels }: Question): readonly number[] => {
    const image = assistant.session.engine.manifest.model.image_token_id;
    const features = pixels.map(({ tokens }) => tokens?.features ?? 0);
    let next = 0;
    return ids.flatMap(id => (id === image ? new Array<number>(features[next++] ?? 0).fill(id) : [id]));
  };

  it("have the prompts of Hugging Face's processor", () => {
    expect(questions.map(repeated)).toEqual(ITEMS.map(({ input_ids }) => input_ids));
    expect(questions.map(({ pixels }) => pixels.map(({ tokens }) => tokens?.tiles))).toEqual([[10], [], [1, 1]]);
  });

  it("have transformers' answers, token by token, together, one by one, and in calls of fewer tiles than an image", async () => {
    const expected = ITEMS.map(({ tokens }) => tokens);
    expect(await answers(assistant, questions)).toEqual(expected);
    for (const [i, question] of questions.entries())
      expect(await answers(assistant, [question])).toEqual([expected[i]]);
    const few = await Assistant.open(await buildTo(work, checkpoint, { ...LIMITS, max_visual_batch: 2 }), {
      threads: 1,
    });
    expect(await answers(few, questions)).toEqual(expected);
    await few.close();
  });

  it("have the same answers where prefixes and features are reused", async () => {
    const paged = { use_paged_context_fmha: true, max_num_tokens: 48, tokens_per_block: 8 };
    const engine = await buildTo(work, checkpoint, { ...LIMITS, ...paged });
    const reusing = await Assistant.open(engine, { threads: 1, reuseBytes: 1 << 22 });
    for (let round = 0; round < 2; round++)
      expect(await answers(reusing, questions)).toEqual(ITEMS.map(({ tokens }) => tokens));
    expect(reusing.session.reuse?.reusedTokens).toBeGreaterThan(50);
    await reusing.close();
  });

  it("are verified stage by stage, the prompt table's order included, by the size of their picture", async () => {
    const reference = await readReference(join(MODEL, "verify.safetensors"));
    const request = { assistant, tolerance: undefined, ort: { threads: 1 }, signal: new AbortController().signal };
    const results = await verify({ ...request, reference });
    expect(results.filter(({ state }) => state === "differs")).toEqual([]);
    expect(results.map(({ stage }) => stage)).toEqual(expect.arrayContaining(["preprocess", "prompt_table", "logits"]));
    const { image_sizes: _, ...tensors } = Object.fromEntries(reference.tensors);
    const unsized = { ...reference, tensors: new Map(Object.entries(tensors)) };
    await expect(verify({ ...request, reference: unsized })).rejects.toThrow(/NUM004.*no image_sizes/);
  });
});
