import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import { type Case, describeParity, FIXTURES, featuresOf, promptsOf } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { readReference } from "../support/reference.ts";

/** Made by test/reference/make_gemma_images_fixtures.py: two images in front of a prompt, and one prompt of the batch without any. */
for (const name of ["paligemma_mqa", "paligemma2_window"]) describeParity(name);

const work = new Workspace();
afterAll(() => work.clean());

type Build = Parameters<typeof buildTo>[2];

async function engineOf(build: Build): Promise<string> {
  const limits = { max_batch_size: 3, max_input_len: 19, max_seq_len: 40, max_multimodal_len: 12 };
  return buildTo(work, await convertTo(work, join(FIXTURES, "paligemma2_window"), "float32"), { ...limits, ...build });
}

async function opened(engine: string): Promise<Case & { readonly session: Session }> {
  return {
    session: await openSession(engine, { threads: 1 }),
    reference: await readReference(join(FIXTURES, "paligemma2_window", "reference.safetensors")),
    imageTokenId: 96,
    vocabSize: 97,
  };
}

describe("a prompt whose tokens see each other both ways", () => {
  it.each(["continuous", "paged"] as const)(
    "is one piece where prompts come in pieces: %s cache",
    async kv_cache_type => {
      const whole = { use_paged_context_fmha: true, max_num_tokens: 3 * 19, kv_cache_type, tokens_per_block: 8 };
      const model = await opened(await engineOf(whole));
      const prompts = promptsOf(model, "b3");
      const decoding = await model.session.prefill(prompts, await featuresOf(model, "b3"));
      expectClose(decoding.logits, model.reference.get("b3.logits")?.values as Float32Array, 1e-4, "logits");
      const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 9 });
      const expected = model.reference.get("b3.tokens")?.values as Int32Array;
      expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(
        prompts.map((_, row) => [...expected.subarray(row * 32, row * 32 + 9)]),
      );
      decoding.close();
      await model.session.close();
    },
  );

  it("is refused by an engine whose pieces are shorter than the longest prompt", async () => {
    const short = { use_paged_context_fmha: true, max_num_tokens: 3 * 18 };
    await expect(engineOf(short)).rejects.toThrow(
      /BLD059.*pieces have 18 tokens, fewer than the 19 that one may have/s,
    );
  });

  it("has no beginning that another could reuse", async () => {
    const engine = await engineOf({ use_paged_context_fmha: true, max_num_tokens: 3 * 19 });
    await expect(openSession(engine, { threads: 1, reuseBytes: 1 << 20 })).rejects.toThrow(
      /RUN032.*every token of a prompt of PaliGemmaForConditionalGeneration sees those after it/s,
    );
  });
});
