import { cp, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FilePool } from "../../src/formats/file.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { readReference } from "../../src/runtime/reference.ts";
import type { Session } from "../../src/runtime/session.ts";
import { firstDifference, type StageResult, verify } from "../../src/runtime/verify.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

/** The small trained LLaVA: its answers can be right or wrong. */
const MODEL = fixtureDir("models/llava-shapes");
const ORT = { threads: 2 };
const LIMITS = { max_batch_size: 8, max_input_len: 260, max_seq_len: 330, max_multimodal_len: 81 * 10 };
const GENERATE = { ...GENERATE_DEFAULTS, maxNewTokens: 64 };

interface HfAnswer {
  readonly image: string;
  readonly question: string;
  readonly text: string;
  readonly tokens: readonly number[];
}

const work = new Workspace();
const engines = new Map<string, Promise<string>>();
afterAll(() => work.clean());

function engineOf(dtype: "float32" | "float16"): Promise<string> {
  const engine = engines.get(dtype) ?? convertTo(work, MODEL, dtype).then(dir => buildTo(work, dir, LIMITS));
  engines.set(dtype, engine);
  return engine;
}

async function withAssistant<T>(dir: string, use: (assistant: Assistant<Session>) => Promise<T>): Promise<T> {
  const assistant = await Assistant.open(dir, ORT);
  try {
    return await use(assistant);
  } finally {
    await assistant.close();
  }
}

async function ask(
  assistant: Assistant,
  items: readonly { readonly question: string; readonly images: readonly string[] }[],
): Promise<readonly { readonly text: string | undefined; readonly tokenIds: readonly number[] }[]> {
  const questions = await Promise.all(
    items.map(async ({ question, images }) => ({
      ids: await assistant.promptIds(question, images.length, "auto"),
      pixels: await Promise.all(images.map(image => assistant.image(image))),
    })),
  );
  return (await assistant.ask(questions, { generate: GENERATE, at: "test" })).answers;
}

describe("the trained LLaVA in ONNX Runtime", () => {
  it("answers all held-out questions with transformers' very tokens in float32, in batches of different prompts", async () => {
    const { answers } = JSON.parse(await readFile(join(MODEL, "heldout", "expected_hf.json"), "utf8")) as {
      readonly answers: readonly HfAnswer[];
    };
    await withAssistant(await engineOf("float32"), async assistant => {
      for (let first = 0; first < answers.length; first += 8) {
        const batch = answers.slice(first, first + 8);
        const items = batch.map(({ image, question }) => ({ question, images: [join(MODEL, "heldout", image)] }));
        const got = await ask(assistant, items);
        expect(got.map(({ tokenIds }) => tokenIds)).toEqual(batch.map(({ tokens }) => tokens));
        expect(got.map(({ text }) => text)).toEqual(batch.map(({ text }) => text));
      }
    });
  });

  it("answers an item alike alone and in a batch with more, fewer and no images", async () => {
    const picture = (name: string): string => join(MODEL, name);
    const items = [
      { question: "What colour is the star?", images: [picture("demo.png")] },
      { question: "Describe the image.", images: [picture("demo-four.png"), picture("demo.png")] },
      { question: "Describe the image.", images: [] },
      { question: "Describe the image.", images: [picture("demo-dark.png")] },
    ];
    await withAssistant(await engineOf("float32"), async assistant => {
      const together = await ask(assistant, items);
      for (const [i, item] of items.entries()) expect((await ask(assistant, [item]))[0]).toEqual(together[i]);
      expect(together[0]?.text).toBe("blue");
    });
  });
});

async function verifyEngine(dir: string): Promise<readonly StageResult[]> {
  const reference = await readReference(join(MODEL, "reference.safetensors"));
  const signal = new AbortController().signal;
  return withAssistant(dir, assistant => verify({ assistant, reference, tolerance: undefined, ort: ORT, signal }));
}

async function firstStage(dir: string): Promise<string | undefined> {
  const reference = await readReference(join(MODEL, "reference.safetensors"));
  return firstDifference(await verifyEngine(dir), reference)?.what;
}

/** A copy of the engine whose weight file is its own, so that it can be damaged. */
async function copyOf(dir: string): Promise<string> {
  const copy = join(await work.dir(), "engine");
  await cp(dir, copy, { recursive: true });
  return copy;
}

/** Doubles every value of a float32 tensor. */
async function damage(file: string, name: string): Promise<void> {
  const pool = new FilePool();
  const tensor = (await openSafetensors(pool, file)).tensors.get(name);
  if (tensor?.range === undefined) throw new Error(`${file} has no ${name}`);
  const bytes = Uint8Array.from(await tensor.readRows(0, tensor.shape[0] as number));
  await pool.close();
  const doubled = new Float32Array(bytes.buffer).map(value => value * 2);
  const handle = await open(file, "r+");
  await handle.write(new Uint8Array(doubled.buffer), 0, doubled.byteLength, tensor.range.offset);
  await handle.close();
}

describe("verify", () => {
  it.each(["float32", "float16"] as const)("finds every stage of a good %s engine equal, none skipped", async dtype => {
    const results = await verifyEngine(await engineOf(dtype));
    expect(results.map(({ stage, state }) => [stage, state])).toEqual(
      [
        ...["preprocess", "prompt", "vision", "projector", "prompt_table"],
        ...["layer 0", "layer 1", "layer 2", "layer 3", "logits", "tokens", "tokens_free"],
      ].map(stage => [stage, "equal"]),
    );
  });

  it.each([
    ["vision", "visual/model.safetensors", "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight"],
    ["projector", "visual/model.safetensors", "multi_modal_projector.linear_2.weight"],
    ["prompt_table", "llm/rank0.safetensors", "transformer.vocab_embedding.weight"],
    ["layer 2", "llm/rank0.safetensors", "transformer.layers.2.mlp.proj.weight"],
    ["logits", "llm/rank0.safetensors", "transformer.ln_f.weight"],
  ])(
    "names %s as the first stage that differs when weights in front of it are damaged",
    async (stage, file, tensor) => {
      const engine = await copyOf(await engineOf("float32"));
      await damage(join(engine, file), tensor);
      expect(await firstStage(engine)).toMatch(new RegExp(`^stage ${stage} differs: \\[`));
    },
  );

  it("names preprocessing and the prompt when their files are other ones", async () => {
    const engine = await copyOf(await engineOf("float32"));
    const file = join(engine, "tokenizer", "processor_config.json");
    const config = await readFile(file, "utf8");
    await writeFile(file, config.replace('"resample": 3', '"resample": 0'));
    expect(await firstStage(engine)).toMatch(/^stage preprocess differs/);
    await writeFile(file, config);
    await rm(join(engine, "tokenizer", "chat_template.jinja"));
    await writeFile(
      join(engine, "tokenizer", "chat_template.jinja"),
      "{% for m in messages %}<image> {{ m.content[-1].text }}{% endfor %}",
    );
    expect(await firstStage(engine)).toMatch(/^stage prompt differs: token \d+ of \d+ is/);
  });
});
