import { afterAll, describe, expect, it } from "vitest";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import type { DecodingRows } from "../../src/runtime/decoding.ts";
import { searchBeams } from "../../src/runtime/generate/beam.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir, referenceBatch, start } from "./runtime-fixtures.ts";

const work = new Workspace();
const checkpoints = new Map<string, Promise<string>>();
afterAll(() => work.clean());

async function open(model: string, build: Partial<BuildOptions>): Promise<Session> {
  const checkpoint = checkpoints.get(model) ?? convertTo(work, fixtureDir(`parity/${model}`), "float32");
  checkpoints.set(model, checkpoint);
  const engine = await buildTo(work, await checkpoint, { max_batch_size: 3, ...build });
  return openSession(engine, { threads: 1 });
}

/** Ids without a pattern, all below `vocab`. */
function prompt(length: number, vocab: number, seed: number): number[] {
  return Array.from({ length }, (_, i) => 3 + ((i * i * 7 + i * 31 + seed * 101) % (vocab - 3)));
}

/** Each kind of positions, norm and attention once; images whose rows lie in several pieces; windows narrower than a prompt. */
const MODELS = ["llama_gqa", "opt_pre", "gpt2_inner", "qwen2_mqa", "mistral_slides", "llava_full", "blip2_opt"];

describe("a prompt in pieces", () => {
  it.each(MODELS.flatMap(model => (["continuous", "static"] as const).map(kind => [model, kind] as const)))(
    "has transformers' logits and tokens whatever the pieces: %s, %s cache",
    async (model, kv_cache_type) => {
      const { tensor } = await referenceBatch(model, "b3");
      const [, longest] = tensor("input_ids").shape as [number, number];
      const limits = { max_input_len: longest, max_seq_len: longest + 9, kv_cache_type };
      for (const piece of [1, 5, longest - 1]) {
        const paged = { use_paged_context_fmha: true, max_num_tokens: 3 * piece + 2 };
        const session = await open(model, { ...limits, ...paged });
        const batch = await referenceBatch(model, "b3");
        const { prompts, decoding } = await start(session, batch);
        expectClose(decoding.logits, tensor("logits").values, 1e-4, `pieces of ${piece}`);
        const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 8 });
        const expected = tensor("tokens");
        const width = expected.shape[1] as number;
        expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(
          prompts.map((_, row) => [...expected.values.subarray(row * width, row * width + 8)]),
        );
        await session.close();
      }
    },
  );

  it.each(["continuous", "static", "paged"] as const)(
    "has the logits of one piece for rows of 1, 19 and 989 tokens, and for beams behind them (%s cache)",
    async kv_cache_type => {
      const limits = { max_input_len: 989, max_seq_len: 999, max_beam_width: 2, kv_cache_type };
      const whole = await open("llama_gqa", limits);
      const prompts = [19, 989, 1].map((length, row) => prompt(length, whole.engine.manifest.model.vocab_size, row));
      const options = { ...GENERATE_DEFAULTS, numBeams: 2, maxNewTokens: 8 };
      const expected = await whole.prefill(prompts);
      const logits = Float32Array.from(expected.logits);
      const beams = await searchBeams(expected, prompts, options);
      // 3 × 85: eleven pieces and a rest; 3 × 330: two and all but one column.
      for (const max_num_tokens of [256, 990]) {
        const session = await open("llama_gqa", { ...limits, use_paged_context_fmha: true, max_num_tokens });
        const decoding = await session.prefill(prompts);
        expectClose(decoding.logits, logits, 1e-4, `${max_num_tokens} tokens a step`);
        expect((await searchBeams(decoding, prompts, options)).map(({ tokenIds }) => tokenIds)).toEqual(
          beams.map(({ tokenIds }) => tokenIds),
        );
        await session.close();
      }
      await whole.close();
    },
  );

  it("is refused where it is longer than max_input_len, though every piece would pass", async () => {
    const paged = { use_paged_context_fmha: true, max_num_tokens: 12, max_input_len: 10, max_seq_len: 32 };
    const session = await open("llama_gqa", paged);
    const size = { batch: 3, beams: 1, newTokens: 2, tableRows: 0 };
    session.check({ ...size, promptTokens: 10 }, "test");
    expect(() => session.check({ ...size, promptTokens: 11 }, "test")).toThrow(
      /RUN010.*the prompt has 11 tokens; the engine takes 1 to 10, at most 4 at once/s,
    );
    expect(() => session.check({ ...size, batch: 4, promptTokens: 10 }, "test")).toThrow(/batch is 4/);
    await session.close();
  });
});

describe("keys behind a sliding window", () => {
  it("are let go of in whole blocks, and no token of a long answer is another one", async () => {
    const limits = { max_input_len: 60, max_seq_len: 160, tokens_per_block: 8 };
    const session = await open("mistral_slides", limits);
    const { llm, manifest } = session.engine;
    const window = llm.sliding_window ?? 0;
    expect(window).toBeGreaterThan(1);
    const prompts = [37, 1, 60].map((length, row) => prompt(length, manifest.model.vocab_size, row));
    const options = { ...GENERATE_DEFAULTS, maxNewTokens: 90 };
    const decoding = (await session.prefill(prompts)) as DecodingRows;
    const answers = await searchTokens(decoding, prompts, options);
    // 60 + 89 columns were made; the window's 6 and the newest block are never let go of.
    expect(decoding.columns).toBeGreaterThanOrEqual(8);
    expect(decoding.columns).toBeLessThan(16);
    for (const [row, own] of prompts.entries()) {
      const answer = answers[row]?.tokenIds ?? [];
      for (const at of [1, 45, 89]) {
        // Computed anew in one step, where nothing was let go of before the logits.
        const { logits } = await session.prefill([[...own, ...answer.slice(0, at)]]);
        expect(logits.indexOf(Math.max(...logits))).toBe(answer[at]);
      }
    }
    await session.close();
  });
});
