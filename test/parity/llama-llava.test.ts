import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readModel } from "../../src/models/registry.ts";
import type { Features } from "../../src/runtime/decoder.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { type ReferenceTensor, readReference, row } from "../support/reference.ts";

/**
 * Models of odd geometry against transformers (test/reference/make_parity_fixtures.py), through the same
 * convert, build and session that users run.
 */
const FIXTURES = new URL("../fixtures/parity/", import.meta.url).pathname;
const CASES = readdirSync(FIXTURES).filter(name => /^(llama|llava)/.test(name));

const work = new Workspace();
afterAll(() => work.clean());

interface Case {
  readonly session: Session;
  readonly reference: ReadonlyMap<string, ReferenceTensor>;
  readonly imageTokenId: number | undefined;
  readonly vocabSize: number;
}

async function open(name: string, dtype: FloatDtype, build: Parameters<typeof buildTo>[2] = {}): Promise<Case> {
  const dir = join(FIXTURES, name);
  const { spec } = readModel(JSON.parse(await readFile(join(dir, "config.json"), "utf8")));
  const checkpoint = await convertTo(work, dir, dtype);
  const engine = await buildTo(work, checkpoint, { max_batch_size: 3, max_input_len: 64, max_seq_len: 160, ...build });
  return {
    session: await openSession(engine, { threads: 1 }),
    reference: await readReference(join(dir, "reference.safetensors")),
    imageTokenId: spec.imageTokenId,
    vocabSize: spec.language.vocabSize,
  };
}

/** The reference's prompts without padding, image placeholders replaced by rows of the prompt table. */
function promptsOf({ reference, imageTokenId, vocabSize }: Case, batch: string): number[][] {
  const ids = reference.get(`${batch}.input_ids`)!;
  const mask = reference.get(`${batch}.attention_mask`)!;
  let tableRow = vocabSize;
  return Array.from({ length: ids.shape[0]! }, (_, item) => {
    const kept = [...row(ids, item)].filter((_, i) => row(mask, item)[i] === 1);
    return kept.map(id => (id === imageTokenId ? tableRow++ : id));
  });
}

async function featuresOf({ session, reference }: Case, images: number): Promise<Features | undefined> {
  const pixels = reference.get("pixel_values");
  if (pixels === undefined) return undefined;
  const [, , height, width] = pixels.shape as [number, number, number, number];
  return session.encodeImages(
    Array.from({ length: images }, (_, i) => ({ height, width, data: row(pixels, i) as Float32Array })),
  );
}

describe.each(CASES)("%s", name => {
  it("has transformers' visual features, logits and greedy tokens (64 of most) in float32, batch 1 and 3", async () => {
    const model = await open(name, "float32");
    for (const batch of ["b1", "b3"]) {
      const prompts = promptsOf(model, batch);
      const features = await featuresOf(model, prompts.length);
      const visual = model.reference.get("visual");
      if (visual !== undefined) {
        const rows = (visual.values.length / 3) * prompts.length;
        expectClose(features!.values, visual.values.subarray(0, rows), 1e-4, `${batch} visual`);
      }
      const decoding = await model.session.prefill(prompts, features);
      expectClose(decoding.logits, model.reference.get(`${batch}.logits`)!.values, 1e-4, `${batch} logits`);
      const tokens = model.reference.get(`${batch}.tokens`)!;
      const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: tokens.shape[1]! });
      expect(answers.map(answer => [...answer.tokenIds])).toEqual(answers.map((_, i) => [...row(tokens, i)]));
    }
    await model.session.close();
  });

  it.each(["float16", "bfloat16"] as const)("stays within 2e-2 of transformers with %s weights", async dtype => {
    const model = await open(name, dtype);
    for (const batch of ["b1", "b3"]) {
      const prompts = promptsOf(model, batch);
      const decoding = await model.session.prefill(prompts, await featuresOf(model, prompts.length));
      expectClose(decoding.logits, model.reference.get(`${batch}.logits_${dtype}`)!.values, 2e-2, `${batch} logits`);
    }
    await model.session.close();
  });

  it("gives the same tokens with a static cache", async () => {
    const model = await open(name, "float32", { kv_cache_type: "static" });
    const prompts = promptsOf(model, "b3");
    const decoding = await model.session.prefill(prompts, await featuresOf(model, 3));
    expectClose(decoding.logits, model.reference.get("b3.logits")!.values, 1e-4, "logits");
    const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 16 });
    const tokens = model.reference.get("b3.tokens")!;
    expect(answers.map(answer => [...answer.tokenIds])).toEqual(
      answers.map((_, i) => [...row(tokens, i)].slice(0, 16)),
    );
    await model.session.close();
  });
});
