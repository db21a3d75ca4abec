import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { searchBeams } from "../../src/runtime/generate/beam.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS, type GenerateOptions } from "../../src/runtime/generate/options.ts";
import { distribution } from "../../src/runtime/generate/sample.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { fixtureDir, referenceBatch, start } from "./runtime-fixtures.ts";

interface GenerationCase {
  readonly batch: "b1" | "b3";
  readonly options: Readonly<Record<string, number | boolean>>;
  readonly eos: readonly number[];
  readonly answers: readonly (readonly number[])[];
}

interface WarperCase {
  readonly temperature: number;
  readonly top_k: number;
  readonly top_p: number;
  readonly scores: readonly number[];
  readonly probabilities: readonly number[];
}

const { models, warpers } = JSON.parse(
  readFileSync(new URL("../fixtures/generation.json", import.meta.url), "utf8"),
) as { readonly models: Readonly<Record<string, readonly GenerationCase[]>>; readonly warpers: readonly WarperCase[] };

const work = new Workspace();
afterAll(() => work.clean());

async function open(model: string): Promise<Session> {
  const checkpoint = await convertTo(work, fixtureDir(`parity/${model}`), "float32");
  const limits = { max_batch_size: 3, max_input_len: 80, max_seq_len: 160, max_beam_width: 5 };
  return openSession(await buildTo(work, checkpoint, limits), { threads: 1 });
}

function optionsOf({ options, eos }: GenerationCase): GenerateOptions {
  const camel = (key: string): string => key.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const given = Object.fromEntries(Object.entries(options).map(([key, value]) => [camel(key), value]));
  return { ...GENERATE_DEFAULTS, ...given, eosTokenIds: eos };
}

describe.each(Object.keys(models))("generation with %s", model => {
  let session: Session | undefined;
  afterAll(() => session?.close());

  it.each(models[model] as readonly GenerationCase[])(
    "equals transformers: $options, end tokens $eos, $batch",
    async entry => {
      session ??= await open(model);
      const { prompts, decoding } = await start(session, await referenceBatch(model, entry.batch));
      const options = optionsOf(entry);
      const answers = await (options.numBeams > 1 ? searchBeams : searchTokens)(decoding, prompts, options);
      expect(answers.map(({ tokenIds }) => tokenIds)).toEqual(entry.answers);
      for (const { tokenIds, finishReason } of answers) {
        expect(finishReason).toBe(entry.eos.includes(tokenIds.at(-1) as number) ? "stop" : "length");
      }
    },
  );
});

describe("sampling", () => {
  it.each(warpers)(
    "draws from what transformers' warpers leave: temperature $temperature, top_k $top_k, top_p $top_p",
    entry => {
      const { temperature, top_k: topK, top_p: topP, scores, probabilities } = entry;
      const shares = distribution(Float32Array.from(scores), { ...GENERATE_DEFAULTS, temperature, topK, topP });
      const all = new Float64Array(scores.length);
      for (const { id, share } of shares) all[id] = share;
      for (const [id, share] of all.entries()) expect(share).toBeCloseTo(probabilities[id] as number, 5);
    },
  );
});
