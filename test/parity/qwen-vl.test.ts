import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { searchBeams } from "../../src/runtime/generate/beam.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession } from "../../src/runtime/session.ts";
import type { PatchesRule } from "../../src/vision/index.ts";
import {
  type Case,
  describeParity,
  FIXTURES,
  featuresOf,
  patchedPictures,
  promptsOf,
} from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { readReference } from "../support/reference.ts";

/** Made by test/reference/make_qwen_vl_fixtures.py: two images of different sizes in a prompt, and one prompt of the batch without any. */
for (const name of [
  "qwen2_vl_odd",
  "qwen2_vl_tied",
  "qwen2_5_vl_odd",
  "qwen2_5_vl_wide",
  "qwen3_vl_odd",
  "qwen3_vl_tied",
])
  describeParity(name);

const work = new Workspace();
const checkpoints = new Map<string, string>();
const NAMES = ["qwen2_5_vl_odd", "qwen3_vl_odd"];
beforeAll(async () => {
  for (const name of NAMES) checkpoints.set(name, await convertTo(work, join(FIXTURES, name), "float32"));
});
afterAll(() => work.clean());

type Build = Parameters<typeof buildTo>[2];

async function opened(name: string, build: Build, reuseBytes?: number): Promise<Case> {
  const limits = { max_batch_size: 3, max_input_len: 48, max_seq_len: 64, max_multimodal_len: 72 };
  const engine = await buildTo(work, checkpoints.get(name) as string, { ...limits, ...build });
  return {
    session: await openSession(engine, { threads: 1, ...(reuseBytes !== undefined && { reuseBytes }) }),
    reference: await readReference(join(FIXTURES, name, "reference.safetensors")),
    imageTokenId: 6,
    vocabSize: 89,
  };
}

/** Logits and nine tokens of the batch of three, against transformers'. */
async function expectAnswers(model: Case, what: string): Promise<void> {
  const prompts = promptsOf(model, "b3");
  const decoding = await model.session.prefill(prompts, await featuresOf(model, "b3"));
  expectClose(decoding.logits, model.reference.get("b3.logits")?.values as Float32Array, 1e-4, what);
  const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 9 });
  const expected = model.reference.get("b3.tokens")?.values as Int32Array;
  expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(
    prompts.map((_, row) => [...expected.subarray(row * 32, row * 32 + 9)]),
  );
  decoding.close();
}

describe.each(NAMES)("%s", name => {
  it.each(["continuous", "static", "paged"] as const)(
    "answers as transformers with prompts in pieces that end within images: %s cache",
    async kv_cache_type => {
      const model = await opened(name, { use_paged_context_fmha: true, max_num_tokens: 3 * 7, kv_cache_type });
      await expectAnswers(model, "pieces of 7");
      await model.session.close();
    },
  );

  it("encodes more images than a call takes in several, and none otherwise for it", async () => {
    const model = await opened(name, {});
    const rule = model.session.engine.manifest.model.visual_tokens as PatchesRule;
    const pictures = patchedPictures(model, "b3", rule);
    const times = 8;
    const features = await model.session.encodeImages(Array.from({ length: times }, () => pictures).flat());
    const visual = model.reference.get("visual")?.values as Float32Array;
    const { visual: config } = model.session.engine;
    const patches = times * (model.reference.get("pixel_values")?.shape[0] ?? 0);
    expect(patches).toBeGreaterThan(config?.profiles[0]?.shapes.input?.max[0] ?? Number.POSITIVE_INFINITY);
    for (let i = 0; i < times; i++)
      expectClose(features.values.subarray(i * visual.length, (i + 1) * visual.length), visual, 1e-4, `round ${i}`);
    expect(features.imageRows?.length).toBe(times * pictures.length);
    const deepstack = model.reference.get("deepstack")?.values as Float32Array | undefined;
    const level = features.values.length;
    expect(features.deepstack?.length).toBe(deepstack && times * deepstack.length);
    // The last round of the second level.
    if (deepstack !== undefined)
      expectClose(
        features.deepstack?.subarray(2 * level - visual.length, 2 * level) as Float32Array,
        deepstack.subarray(visual.length, 2 * visual.length),
        1e-4,
        "deepstack",
      );
    await model.session.close();
  });

  it.each(["continuous", "paged"] as const)(
    "goes on from the middle of an image that is known, and tells images of other sizes apart: %s cache",
    async kv_cache_type => {
      const build: Build = { use_paged_context_fmha: true, tokens_per_block: 8, kv_cache_type };
      const model = await opened(name, build, 1 << 20);
      const reused: number[] = [];
      for (let request = 0; request < 2; request++) {
        const prompts = promptsOf(model, "b3");
        const decoding = await model.session.prefill(prompts, await featuresOf(model, "b3"));
        expectClose(
          decoding.logits,
          model.reference.get("b3.logits")?.values as Float32Array,
          1e-4,
          `request ${request}`,
        );
        reused.push(decoding.reusedTokens);
        const [, , last] = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 5 });
        const expected = model.reference.get("b3.tokens")?.values as Int32Array;
        expect([...(last?.tokenIds ?? [])]).toEqual([...expected.subarray(64, 69)]);
        decoding.close();
      }
      expect(reused[0]).toBe(0);
      expect(reused[1]).toBeGreaterThanOrEqual(16);
      await model.session.close();
    },
  );

  it("has the same beams in a batch of mixed prompts as alone", async () => {
    const model = await opened(name, { max_beam_width: 3 });
    const options = { ...GENERATE_DEFAULTS, maxNewTokens: 6, numBeams: 3 };
    const prompts = promptsOf(model, "b3");
    const features = await featuresOf(model, "b3");
    const together = await searchBeams(await model.session.prefill(prompts, features), prompts, options);
    for (const [row, prompt] of prompts.entries()) {
      const [alone] = await searchBeams(await model.session.prefill([prompt], features), [prompt], options);
      expect(together[row]?.tokenIds).toEqual(alone?.tokenIds);
      expect(together[row]?.score).toBeCloseTo(alone?.score ?? Number.NaN, 4);
    }
    await model.session.close();
  });
});
