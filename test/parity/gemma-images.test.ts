import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { MODERN } from "../../src/graph/dialect.ts";
import type { GraphOptions } from "../../src/models/architecture.ts";
import { readModel } from "../../src/models/registry.ts";
import type { DecoderSpec } from "../../src/models/spec.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import { type Case, describeParity, FIXTURES, featuresOf, promptsOf } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { readReference } from "../support/reference.ts";

/** Made by test/reference/make_gemma_images_fixtures.py: two images in a prompt, and one prompt of the batch without any. */
for (const name of ["gemma3_images", "gemma3_images_wide"]) describeParity(name);

const work = new Workspace();
afterAll(() => work.clean());

const CONFIG = JSON.parse(readFileSync(join(FIXTURES, "gemma3_images_wide", "config.json"), "utf8"));

type Build = Parameters<typeof buildTo>[2];

async function engineOf(build: Build): Promise<string> {
  const limits = { max_batch_size: 3, max_input_len: 40, max_seq_len: 50, max_multimodal_len: 27 };
  return buildTo(work, await convertTo(work, join(FIXTURES, "gemma3_images_wide"), "float32"), { ...limits, ...build });
}

async function opened(engine: string, reuseBytes?: number): Promise<Case & { readonly session: Session }> {
  return {
    session: await openSession(engine, { threads: 1, ...(reuseBytes !== undefined && { reuseBytes }) }),
    reference: await readReference(join(FIXTURES, "gemma3_images_wide", "reference.safetensors")),
    imageTokenId: 96,
    vocabSize: 97,
  };
}

/** Logits and eight tokens of the batch of three, against transformers'. */
async function expectAnswers(model: Case, what: string): Promise<void> {
  const prompts = promptsOf(model, "b3");
  const decoding = await model.session.prefill(prompts, await featuresOf(model, "b3"));
  expectClose(decoding.logits, model.reference.get("b3.logits")?.values as Float32Array, 1e-4, what);
  const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 8 });
  const expected = model.reference.get("b3.tokens")?.values as Int32Array;
  expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(
    prompts.map((_, row) => [...expected.subarray(row * 32, row * 32 + 8)]),
  );
  decoding.close();
}

describe("an image whose tokens see each other both ways", () => {
  it.each(["continuous", "static", "paged"] as const)(
    "is never cut by pieces of a prompt, and the answers are those of one piece: %s cache",
    async kv_cache_type => {
      // 11 and 20 tokens of a row: images of 9 begin at 2 and 12, and with left padding elsewhere in each row.
      for (const piece of [20, 25]) {
        const pieces = { use_paged_context_fmha: true, max_num_tokens: 3 * piece, kv_cache_type };
        const model = await opened(await engineOf(pieces));
        await expectAnswers(model, `pieces of ${piece}`);
        await model.session.close();
      }
    },
  );

  it("is refused by an engine whose pieces are shorter, when it is built and when rows leave no column between images", async () => {
    const short = { use_paged_context_fmha: true, max_num_tokens: 3 * 8 };
    await expect(engineOf(short)).rejects.toThrow(/BLD059.*pieces have 8 tokens, fewer than the 9 of an image/s);
    const model = await opened(await engineOf({ use_paged_context_fmha: true, max_num_tokens: 3 * 9 }));
    const [image] = promptsOf(model, "b1");
    const features = await featuresOf(model, "b1");
    const shifted = [image ?? [], [...(image ?? []).slice(0, 11), 5, 6, 7, 8, 9, 5, 6, 7, 8, 9]];
    await expect(model.session.prefill(shifted, features)).rejects.toThrow(/RUN010.*see each other/s);
    await model.session.close();
  });

  it.each(["continuous", "paged"] as const)(
    "is reused whole or not at all, and answers stay as they were: %s cache",
    async kv_cache_type => {
      const engine = await engineOf({ use_paged_context_fmha: true, tokens_per_block: 8, kv_cache_type });
      const [alone, model] = [await opened(engine), await opened(engine, 1 << 20)];
      const words = (count: number, first: number): number[] => Array.from({ length: count }, (_, i) => first + i);
      // An image from token 7 to 15: the first block cannot stand without the second.
      const about = (question: readonly number[]): number[] => [...words(7, 20), ...words(9, 97), ...question];
      const requests = [about(words(17, 50)), about(words(17, 50)), about(words(15, 31)), words(19, 20)];
      const features = (of: Case) => featuresOf(of, "b1");
      const reused: number[] = [];
      for (const prompt of requests) {
        const decoding = await model.session.prefill([prompt], await features(model));
        const expected = await alone.session.prefill([prompt], await features(alone));
        expectClose(decoding.logits, expected.logits, 1e-4, `request ${reused.length + 1}`);
        reused.push(decoding.reusedTokens);
        decoding.close();
      }
      expect(reused).toEqual([0, 24, 16, 0]);
      await alone.session.close();
      await model.session.close();
    },
  );

  it("keeps attention in standard operators where a plugin takes the text model", () => {
    const { architecture, spec } = readModel(CONFIG);
    const options: Omit<GraphOptions, "promptTable"> = {
      weightDtype: "float16",
      computeDtype: "float16",
      tpSize: 1,
      ppSize: 1,
      rank: 0,
      dialect: MODERN,
      kvCache: { type: "static", capacity: 19 },
      plugins: ["GptAttention"],
    };
    const graphOf = (language: DecoderSpec, promptTable: boolean) => {
      const graph = architecture.languageGraph({ ...spec, language }, { ...options, promptTable });
      return [
        graph.nodes.some(({ op }) => op === "GptAttention"),
        graph.inputs.some(({ name }) => name === "visual_spans"),
      ];
    };
    const { visualSpans: _, layerKinds: __, ...plain } = { ...spec.language, headDim: 64 };
    const spans = { ...plain, visualSpans: "image" as const };
    expect(graphOf(plain, true)).toEqual([true, false]);
    expect(graphOf(spans, true)).toEqual([false, true]);
    expect(graphOf(spans, false)).toEqual([false, false]);
  });
});
