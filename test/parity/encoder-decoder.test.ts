import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { searchBeams } from "../../src/runtime/generate/beam.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS, type GenerateOptions } from "../../src/runtime/generate/options.ts";
import { pairTokens } from "../../src/runtime/generation-config.ts";
import { openGraph } from "../../src/runtime/ort.ts";
import { type Features, tableFeeds } from "../../src/runtime/prompt-table.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { type ReferenceTensor, readReference, row } from "../support/reference.ts";

/**
 * T5, BART, mBART, Nougat and BLIP-2 with T5, of odd geometry against transformers (test/reference/make_encoder_decoder_fixtures.py),
 * through the same convert, build and session that users run.
 */
const CASES = readdirSync(FIXTURES).filter(name => /^(t5|bart|mbart|nougat|blip2t5)_/.test(name));
const BATCHES = ["b1", "b3"] as const;

interface Case {
  readonly session: Session;
  readonly reference: ReadonlyMap<string, ReferenceTensor>;
  readonly options: GenerateOptions;
}

describe.each(CASES)("%s", name => {
  const work = new Workspace();
  afterAll(() => work.clean());

  const open = async (dtype: FloatDtype, build: Parameters<typeof buildTo>[2] = {}): Promise<Case> => {
    const dir = join(FIXTURES, name);
    const reference = await readReference(join(dir, "reference.safetensors"));
    const given = { max_batch_size: 3, max_beam_width: 3, max_input_len: 24, max_seq_len: 40, ...build };
    const engine = await buildTo(work, await convertTo(work, dir, dtype), given);
    const session = await openSession(engine, { threads: 1 });
    const options = { ...GENERATE_DEFAULTS, maxNewTokens: 32, ...(await pairTokens(session.engine)) };
    return { session, reference, options };
  };

  it("has transformers' encoder output, logits, greedy tokens and beams in float32, batch 1 and 3", async () => {
    const { session, reference, options } = await open("float32");
    for (const batch of BATCHES) {
      const prompts = promptsOf(session, reference, batch);
      const features = await featuresOf(session, reference, batch);
      await expectEncoder(session, reference, batch, features);
      session.check(
        { batch: prompts.length, beams: 3, newTokens: 32, tableRows: 0, promptTokens: lengthOf(session, prompts) },
        "test",
      );
      const decoding = await session.prefill(prompts, features);
      expectClose(decoding.logits, valuesOf(reference, `${batch}.logits`), 1e-4, `${batch} logits`);
      const seen = prompts.map(() => [session.startToken as number]);
      const answers = await searchTokens(decoding, seen, options);
      expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(rowsOf(reference, `${batch}.tokens`));
      const beams = await searchBeams(await session.prefill(prompts, features), seen, {
        ...options,
        numBeams: 3,
        maxNewTokens: 11,
      });
      expect(beams.map(({ tokenIds }) => [...tokenIds])).toEqual(rowsOf(reference, `${batch}.beams`));
    }
    await session.close();
  });

  it.each(["float16", "bfloat16"] as const)("stays close to transformers with %s weights", async dtype => {
    const { session, reference } = await open(dtype);
    for (const batch of BATCHES) {
      const decoding = await session.prefill(
        promptsOf(session, reference, batch),
        await featuresOf(session, reference, batch),
      );
      expectClose(decoding.logits, valuesOf(reference, `${batch}.logits_${dtype}`), 3e-2, `${batch} logits`);
    }
    await session.close();
  });

  it("gives the same tokens with a static cache", async () => {
    const { session, reference, options } = await open("float32", { kv_cache_type: "static" });
    const prompts = promptsOf(session, reference, "b3");
    const decoding = await session.prefill(prompts, await featuresOf(session, reference, "b3"));
    expectClose(decoding.logits, valuesOf(reference, "b3.logits"), 1e-4, "logits");
    const answers = await searchTokens(decoding, prompts, options);
    expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(rowsOf(reference, "b3.tokens"));
    await session.close();
  });
});

/** The text encoder's output where a token is, or the image encoder's features. */
async function expectEncoder(
  session: Session,
  reference: Case["reference"],
  batch: (typeof BATCHES)[number],
  features: Features | undefined,
): Promise<void> {
  const visual = reference.get("visual");
  if (visual !== undefined && features !== undefined) {
    expectClose(features.values, visual.values.subarray(0, features.values.length), 1e-4, `${batch} visual`);
  }
  if (!reference.has(`${batch}.encoder_output`)) return;
  const graph = await openGraph(session.engine.encoderParts[0]?.onnx ?? "", { threads: 1 });
  const [ids, mask, want] = ["input_ids", "attention_mask", "encoder_output"].map(
    part => reference.get(`${batch}.${part}`) as ReferenceTensor,
  ) as [ReferenceTensor, ReferenceTensor, ReferenceTensor];
  const { encoder_output: got } = await graph.run({
    input_ids: graph.tensor(
      "int32",
      Int32Array.from(withTableRows(session, rowsOf(reference, `${batch}.input_ids`)).flat()),
      ids.shape,
    ),
    ...tableFeeds(graph, session.engine.encoder?.io ?? [], 1, features)(ids.shape[0] as number),
    attention_mask: graph.tensor("int32", mask.values as Int32Array, mask.shape),
  });
  const hidden = want.shape[2] as number;
  const ofTokens = (values: ArrayLike<number>): number[] =>
    Array.from(values).filter((_, i) => mask.values[Math.floor(i / hidden)] === 1);
  expectClose(ofTokens(got?.data as Float32Array), ofTokens(want.values), 1e-4, `${batch} encoder_output`);
  await graph.close();
}

/** Without padding; image placeholders become rows of the prompt table. */
function promptsOf(session: Session, reference: Case["reference"], batch: (typeof BATCHES)[number]): number[][] {
  if (!reference.has(`${batch}.input_ids`)) return Array.from({ length: batch === "b1" ? 1 : 3 }, () => []);
  const mask = rowsOf(reference, `${batch}.attention_mask`);
  return withTableRows(session, rowsOf(reference, `${batch}.input_ids`)).map((ids, item) =>
    ids.filter((_, i) => mask[item]?.[i] === 1),
  );
}

function withTableRows(session: Session, ids: readonly (readonly number[])[]): number[][] {
  const { image_token_id, vocab_size } = session.engine.manifest.model;
  let row = vocab_size;
  return ids.map(prompt => prompt.map(id => (id === image_token_id ? row++ : id)));
}

function lengthOf(session: Session, prompts: readonly (readonly number[])[]): number {
  return Math.max(...prompts.map(({ length }) => length)) || session.engine.manifest.model.num_visual_features;
}

async function featuresOf(
  session: Session,
  reference: Case["reference"],
  batch: (typeof BATCHES)[number],
): Promise<Features | undefined> {
  const pixels = reference.get("pixel_values");
  if (pixels === undefined) return undefined;
  const [, , height, width] = pixels.shape as [number, number, number, number];
  const images = Array.from({ length: batch === "b1" ? 1 : 3 }, (_, i) => row(pixels, i) as Float32Array);
  return session.encodeImages(images.map(data => ({ height, width, data })));
}

function valuesOf(reference: Case["reference"], name: string): Float32Array | Int32Array {
  const tensor = reference.get(name);
  if (tensor === undefined) throw new Error(`the reference has no ${name}`);
  return tensor.values;
}

function rowsOf(reference: Case["reference"], name: string): number[][] {
  const tensor = reference.get(name);
  if (tensor === undefined) throw new Error(`the reference has no ${name}`);
  return Array.from({ length: tensor.shape[0] ?? 0 }, (_, i) => [...row(tensor, i)]);
}
