import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Question } from "../../src/runtime/answer.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { readReference } from "../../src/runtime/reference.ts";
import type { Session } from "../../src/runtime/session.ts";
import { firstDifference, verify } from "../../src/runtime/verify.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const MODEL = fixtureDir("parity/qwen2_5_vl_chat");

interface Item {
  readonly question: string;
  readonly images: readonly string[];
  readonly input_ids: readonly number[];
  readonly tokens: readonly number[];
  readonly beams: readonly number[];
}

const ITEMS = JSON.parse(readFileSync(join(MODEL, "chat.json"), "utf8")) as readonly Item[];
const LIMITS = { max_batch_size: 4, max_input_len: 180, max_seq_len: 220 };

const work = new Workspace();
afterAll(() => work.clean());

/** Made by test/reference/make_qwen_vl_chat_fixture.py. */
describe("Pictures of any shape in one batch, with a prompt that has none", () => {
  let checkpoint = "";
  let assistant: Assistant<Session>;
  let questions: readonly Question[] = [];
  beforeAll(async () => {
    checkpoint = await convertTo(work, MODEL, "float32");
    assistant = await Assistant.open(await buildTo(work, checkpoint, { ...LIMITS, max_beam_width: 3 }), { threads: 1 });
    questions = await Promise.all(ITEMS.map(item => asked(assistant, item)));
  });
  afterAll(() => assistant.close());

  const asked = (one: Assistant, { question, images }: Item): Promise<Question> =>
    one.question(
      question,
      images.map(name => fixtureDir(`image/${name}`)),
      "auto",
    );
  const greedy = { ...GENERATE_DEFAULTS, maxNewTokens: 24, minNewTokens: 24 };
  const answers = async (
    one: Assistant,
    batch: readonly Question[],
    generate: typeof greedy = greedy,
  ): Promise<readonly (readonly number[])[]> => {
    const { answers } = await one.ask(batch, { generate, at: "test" });
    return answers.map(({ tokenIds }) => tokenIds);
  };

  it("have the prompts of Hugging Face's processor, each placeholder as often as its picture has features", () => {
    const image = assistant.session.engine.manifest.model.image_token_id;
    const repeated = questions.map(({ ids, pixels }) => {
      let next = 0;
      return ids.flatMap(id =>
        id === image ? new Array<number>(pixels[next++]?.tokens?.features ?? 0).fill(id) : [id],
      );
    });
    expect(repeated).toEqual(ITEMS.map(({ input_ids }) => input_ids));
  });

  it("have transformers' answers, token by token, together and one by one, in words and as ids", async () => {
    const expected = ITEMS.map(({ tokens }) => tokens);
    expect(await answers(assistant, questions)).toEqual(expected);
    for (const [i, question] of questions.entries())
      expect(await answers(assistant, [question])).toEqual([expected[i]]);
    const byIds = questions.map(({ pixels }, i) => ({ pixels, ids: ITEMS[i]?.input_ids ?? [] }));
    expect(await answers(assistant, byIds)).toEqual(expected);
  });

  it("have transformers' beams", async () => {
    const beams = { ...greedy, numBeams: 3, maxNewTokens: 8, minNewTokens: 8 };
    expect(await answers(assistant, questions, beams)).toEqual(ITEMS.map(one => one.beams));
  });

  it("pass every stage of verify, and a changed grid does not", async () => {
    const reference = await readReference(join(MODEL, "verify.safetensors"));
    const given = { assistant, tolerance: undefined, ort: { threads: 1 }, signal: new AbortController().signal };
    const stages = await verify({ ...given, reference });
    const states = Object.fromEntries(stages.map(({ stage, state }) => [stage, state]));
    const equal = ["preprocess", "projector", "prompt", "layer 0", "logits", "tokens"];
    expect(states).toMatchObject(Object.fromEntries(equal.map(stage => [stage, "equal"])));
    expect(firstDifference(stages, reference)).toBeUndefined();
    const { shape, data } = reference.tensors.get("image_grid_thw") ?? { shape: [], data: [] };
    const turned = { shape, data: Int32Array.from([data[0] ?? 0, data[2] ?? 0, data[1] ?? 0]) };
    const other = { ...reference, tensors: new Map([...reference.tensors, ["image_grid_thw", turned]]) };
    expect(firstDifference(await verify({ ...given, reference: other }), other)?.what).toMatch(
      /stage projector differs/,
    );
  });

  it("are refused when the processor's file was changed after the build", async () => {
    const dir = await buildTo(work, checkpoint, LIMITS);
    const file = join(dir, "tokenizer", "preprocessor_config.json");
    const changed = readFileSync(file, "utf8").replace('"max_pixels": 1500', '"max_pixels": 900');
    await writeFile(file, changed);
    const other = await Assistant.open(dir, { threads: 1 });
    await expect(other.image(fixtureDir("image/rgb-61x43.png"))).rejects.toThrow(
      /RUN017.*built for 8 × 10 patches of 96/,
    );
    await other.close();
  });

  it("are refused where one side is more than 200 times the other", async () => {
    await expect(assistant.image(fixtureDir("image/rgb-3x989.png"))).rejects.toThrow(/RUN002.*3 × 989.*1 to 329.7/);
  });
});
