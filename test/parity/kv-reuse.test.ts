import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { searchBeams } from "../../src/runtime/generate/beam.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const work = new Workspace();
const engines = new Map<string, Promise<string>>();
afterAll(() => work.clean());

const BLOCK = 8;
const PLENTY = 64 << 20;

function engineOf(model: string, dtype: FloatDtype, build: Partial<BuildOptions>): Promise<string> {
  const key = JSON.stringify([model, dtype, build]);
  const paged = { max_batch_size: 3, use_paged_context_fmha: true, tokens_per_block: BLOCK };
  const engine =
    engines.get(key) ??
    convertTo(work, fixtureDir(model), dtype).then(dir => buildTo(work, dir, { ...paged, ...build }));
  engines.set(key, engine);
  return engine;
}

/** Opens the engine with and without something to reuse, and closes it. */
async function withSession<T>(
  dir: string,
  reuseBytes: number | undefined,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(dir, { threads: 1, ...(reuseBytes !== undefined && { reuseBytes }) });
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

function prompt(length: number, seed: number): number[] {
  return Array.from({ length }, (_, i) => 3 + ((i * i * 7 + i * 31 + seed * 101) % 96));
}

/** One document, 989 tokens of it, and what is asked of it; some prompts end where a block does, some are another's beginning. */
const DOCUMENT = prompt(989, 1);
const REQUESTS: readonly (readonly number[][])[] = [
  [DOCUMENT],
  [[...DOCUMENT.slice(0, 960), ...prompt(19, 2)], prompt(1, 3), [...DOCUMENT.slice(0, 19), ...prompt(30, 4)]],
  [DOCUMENT.slice(0, 8), DOCUMENT.slice(0, 19), DOCUMENT.slice(0, 16)],
  [DOCUMENT, DOCUMENT],
];

interface Seen {
  readonly logits: Float32Array;
  readonly tokens: readonly (readonly number[])[];
}

async function run(session: Session, prompts: readonly (readonly number[])[]): Promise<Seen> {
  const decoding = await session.prefill(prompts);
  const logits = Float32Array.from(decoding.logits);
  const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 6 });
  return { logits, tokens: answers.map(({ tokenIds }) => tokenIds) };
}

describe("prompts that begin alike", () => {
  it.each([
    ["llama_gqa", "float32", "continuous"],
    ["llama_gqa", "float32", "static"],
    ["llama_gqa", "float32", "paged"],
    ["llama_gqa", "float16", "continuous"],
    // A window of 7: what lies behind it is not even loaded.
    ["mistral_slides", "float32", "continuous"],
  ] as const)(
    "have the bits they have alone, and the tokens of an engine that keeps nothing: %s in %s, %s cache",
    async (model, dtype, kv_cache_type) => {
      const limits = { max_input_len: 989, max_seq_len: 1000, kv_cache_type };
      const engine = await engineOf(`parity/${model}`, dtype, limits);
      const alone: Seen[] = [];
      for (const prompts of REQUESTS) alone.push(await withSession(engine, PLENTY, session => run(session, prompts)));
      await withSession(engine, PLENTY, async session => {
        for (const order of [
          [0, 1, 2, 3],
          [3, 2, 1, 0],
        ]) {
          for (const request of order) {
            const seen = await run(session, REQUESTS[request] as number[][]);
            expect(seen.tokens).toEqual(alone[request]?.tokens);
            expect(Array.from(seen.logits)).toEqual(Array.from(alone[request]?.logits ?? []));
          }
        }
        const { reusedTokens, promptTokens, evicted } = session.reuse ?? {
          reusedTokens: 0,
          promptTokens: 0,
          evicted: 1,
        };
        // 960 of the second request and 16 of its third prompt, 24 of the third's, 984 twice of the fourth; then all of it.
        expect(reusedTokens).toBe(960 + 16 + (0 + 16 + 8) + 2 * 984 + 2 * 984 + (0 + 16 + 8) + (976 + 0 + 40) + 984);
        expect(reusedTokens).toBeLessThan(promptTokens);
        expect(evicted).toBe(0);
      });
      await withSession(engine, undefined, async session => {
        for (const [request, prompts] of REQUESTS.entries()) {
          const seen = await run(session, prompts);
          expect(seen.tokens).toEqual(alone[request]?.tokens);
          expectClose(
            seen.logits,
            alone[request]?.logits ?? [],
            dtype === "float32" ? 1e-4 : 2e-2,
            `request ${request}`,
          );
        }
        expect(session.reuse).toBeUndefined();
      });
    },
  );

  it("have the same bits when only some blocks find room, and the budget is never passed", async () => {
    const limits = { max_input_len: 989, max_seq_len: 1000 };
    const engine = await engineOf("parity/llama_gqa", "float32", limits);
    const alone = await withSession(engine, PLENTY, session => run(session, REQUESTS[0] as number[][]));
    // 3 layers × keys and values × 2 heads × 10 channels × 8 tokens × 4 bytes.
    const block = 3 * 2 * 2 * 10 * BLOCK * 4;
    const budget = 50 * block + 17;
    await withSession(engine, budget, async session => {
      for (const request of [1, 0, 2, 0, 3, 0]) {
        const seen = await run(session, REQUESTS[request] as number[][]);
        if (request === 0) expect(Array.from(seen.logits)).toEqual(Array.from(alone.logits));
        expect(session.reuse?.bytes).toBeLessThanOrEqual(budget);
      }
      expect(session.reuse).toMatchObject({ blocks: 50, capacity: 50 });
      expect(session.reuse?.evicted).toBeGreaterThan(0);
      expect(session.reuse?.reusedTokens).toBeGreaterThan(0);
    });
  });

  it("have the same beams", async () => {
    const limits = { max_input_len: 989, max_seq_len: 1000, max_beam_width: 3 };
    const engine = await engineOf("parity/llama_gqa", "float32", limits);
    const prompts = REQUESTS[1] as number[][];
    const options = { ...GENERATE_DEFAULTS, numBeams: 3, maxNewTokens: 7 };
    const beams = async (session: Session): Promise<unknown> =>
      searchBeams(await session.prefill(prompts), prompts, options);
    const without = await withSession(engine, undefined, beams);
    await withSession(engine, PLENTY, async session => {
      const cold = await beams(session);
      expect(await beams(session)).toEqual(cold);
      const tokens = (all: unknown): unknown => (all as { tokenIds: unknown }[]).map(({ tokenIds }) => tokenIds);
      expect(tokens(cold)).toEqual(tokens(without));
    });
  });

  it("know an adapter's keys from another's: the same words under three of them share nothing", async () => {
    const adapters = ["first", "second"].map(name => fixtureDir(`lora/llama_gqa/${name}`));
    const limits = { max_input_len: 24, max_seq_len: 40, lora_dir: adapters, max_lora_rank: 8 };
    const engine = await engineOf("parity/llama_gqa", "float32", limits);
    const prompts = [0, 1, 2].map(() => prompt(19, 5));
    const logits = async (session: Session, tasks: readonly number[]): Promise<readonly (readonly number[])[]> => {
      const decoding = await session.prefill(prompts, undefined, tasks);
      return tasks.map((_, row) => [...decoding.logits.subarray(row * decoding.vocab, (row + 1) * decoding.vocab)]);
    };
    const without = await withSession(engine, undefined, session => logits(session, [0, -1, 1]));
    await withSession(engine, PLENTY, async session => {
      const cold = await logits(session, [0, -1, 1]);
      expect(session.reuse?.reusedTokens).toBe(0);
      for (const [row, own] of cold.entries())
        expectClose(Float32Array.from(own), without[row] ?? [], 1e-4, `row ${row}`);
      expect(await logits(session, [1, 0, -1])).toEqual([cold[2], cold[0], cold[1]]);
      expect(session.reuse?.reusedTokens).toBe(3 * 16);
    });
  });

  it("refuse an engine that starts from an empty cache, an encoder-decoder, and a budget without a block", async () => {
    const plain = await buildTo(work, await convertTo(work, fixtureDir("parity/llama_gqa"), "float32"));
    await expect(openSession(plain, { threads: 1, reuseBytes: PLENTY })).rejects.toThrow(
      /RUN032.*--use_paged_context_fmha/s,
    );
    const pair = await buildTo(work, await convertTo(work, fixtureDir("parity/t5_plain"), "float32"), {
      max_seq_len: 40,
    });
    await expect(openSession(pair, { threads: 1, reuseBytes: PLENTY })).rejects.toThrow(/RUN032.*encoder-decoder/s);
    const engine = await engineOf("parity/llama_gqa", "float32", { max_input_len: 989, max_seq_len: 1000 });
    await expect(openSession(engine, { threads: 1, reuseBytes: 3839 })).rejects.toThrow(
      /RUN033.*3839B holds no block of 3840 bytes/s,
    );
  });
});

describe("the trained LLaVA", () => {
  const MODEL = fixtureDir("models/llava-shapes");
  const limits = { max_input_len: 260, max_seq_len: 330, max_multimodal_len: 81 * 6 };
  const picture = (name: string): string => join(MODEL, name);

  async function ask(
    assistant: Assistant,
    items: readonly (readonly [question: string, ...images: string[]])[],
  ): Promise<unknown> {
    const questions = await Promise.all(
      items.map(async ([question, ...images]) => ({
        ids: await assistant.promptIds(question, images.length, "auto"),
        pixels: await Promise.all(images.map(image => assistant.image(picture(image)))),
      })),
    );
    const generate = { ...GENERATE_DEFAULTS, maxNewTokens: 40 };
    return (await assistant.ask(questions, { generate, at: "test" })).answers.map(({ text, tokenIds }) => [
      text,
      tokenIds,
    ]);
  }

  it("sees the picture it is shown: the same twice is reused, another with the same words is not", async () => {
    const engine = await engineOf("models/llava-shapes", "float32", limits);
    const [without, reusing] = [
      await Assistant.open(engine, { threads: 1 }),
      await Assistant.open(engine, { threads: 1, reuseBytes: PLENTY }),
    ];
    const reused = (): number => reusing.session.reuse?.reusedTokens ?? -1;
    const question = "Describe the image.";
    const start = (await reusing.promptIds(question, 1, "auto")).indexOf(
      reusing.session.engine.manifest.model.image_token_id as number,
    );
    try {
      const batches: (readonly (readonly [string, ...string[]])[])[] = [
        [[question, "demo.png"]],
        [[question, "demo-four.png"]],
        [[question, "demo.png"]],
        [
          ["What colour is the star?", "demo.png"],
          [question, "demo-dark.png"],
          [question, "demo-four.png"],
        ],
        [[question, "demo-four.png", "demo.png"]],
        [[question, "demo.png", "demo-four.png"]],
      ];
      const counts: number[] = [];
      for (const batch of batches) {
        const before = reused();
        expect(await ask(reusing, batch)).toEqual(await ask(without, batch));
        counts.push(reused() - before);
      }
      // Another picture shares the whole blocks of words before it, and not one row of the picture.
      const words = Math.floor(start / BLOCK) * BLOCK;
      expect(counts[0]).toBe(0);
      expect(counts[1]).toBe(words);
      expect(counts[2]).toBeGreaterThan(81);
      expect(counts[3]).toBeGreaterThan(2 * (81 - BLOCK));
      expect(counts[4]).toBeGreaterThanOrEqual(81 - BLOCK);
      expect(counts[4]).toBeLessThan(2 * 81);
      expect(counts[5]).toBeGreaterThanOrEqual(81 - BLOCK);
      expect(counts[5]).toBeLessThan(2 * 81);
    } finally {
      await without.close();
      await reusing.close();
    }
  });
});
