import { readFileSync } from "node:fs";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { passkeyText } from "../../src/runtime/passkey/prompt.ts";
import { passkeyReport } from "../../src/runtime/passkey/report.ts";
import { findPasskeys } from "../../src/runtime/passkey/retrieval.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { ROOT } from "../support/sources.ts";

const MODEL = join(ROOT, "test/fixtures/models/passkey-llama");
/** As long as any text that is asked. */
const LONGEST = 2048;

interface Expected {
  readonly scaling: Readonly<Record<string, unknown>>;
  readonly answers: readonly {
    readonly length: number;
    readonly sentences: number;
    readonly depth: number;
    readonly key: string;
    readonly prompt_tokens: number;
    readonly text: string;
    readonly found: boolean;
  }[];
}

const expected = JSON.parse(readFileSync(join(MODEL, "expected_hf.json"), "utf8")) as Readonly<
  Record<string, Expected>
>;
const work = new Workspace();
afterAll(() => work.clean());

/** The trained model with another scaling in its config.json, as a user stretches one. */
async function stretched(scaling: Expected["scaling"]): Promise<Assistant> {
  const dir = join(await work.dir(), "model");
  await cp(MODEL, dir, { recursive: true });
  const config = JSON.parse(await readFile(join(dir, "config.json"), "utf8")) as Record<string, object>;
  const { rope_parameters, ...rest } = config;
  await writeFile(
    join(dir, "config.json"),
    JSON.stringify({ ...rest, rope_parameters: { ...rope_parameters, ...scaling } }),
  );
  const checkpoint = await convertTo(work, dir, "float32");
  const engine = await buildTo(work, checkpoint, { max_input_len: LONGEST, max_seq_len: LONGEST });
  return Assistant.open(engine, { threads: 1 });
}

/** The small model was trained for 512 tokens; what it was not trained for it may answer wrongly, and transformers with it. */
describe.each(Object.entries(expected))("passkey-llama with rope scaling %s", (_, { scaling, answers }) => {
  it("answers as transformers does, where the key is found and where not", { timeout: 120_000 }, async () => {
    const assistant = await stretched(scaling);
    for (const { length, sentences, depth, key, prompt_tokens, text } of answers) {
      const ids = await assistant.promptIds(passkeyText(sentences, depth, key), 0, "raw");
      expect(ids.length).toBe(prompt_tokens);
      const asked = await assistant.ask([{ ids, pixels: [] }], {
        generate: { ...GENERATE_DEFAULTS, maxNewTokens: 6 },
        at: "test",
      });
      expect(asked.answers[0]?.text, `${length} tokens, depth ${depth}`).toBe(text);
    }
    await assistant.close();
  });
});

describe("eval passkey of passkey-llama", () => {
  const ask = async (assistant: Assistant, lengths: readonly number[], samples: number) =>
    passkeyReport(
      await findPasskeys(assistant, {
        contextLengths: lengths,
        depths: [0, 25, 50, 75, 100],
        samples,
        seed: 1,
        format: "raw",
        at: "test",
      }),
    );

  it("finds every key at every depth up to the length it was trained for", { timeout: 120_000 }, async () => {
    const assistant = await stretched({});
    const report = await ask(assistant, [128, 512], 2);
    expect(report.missed).toEqual([]);
    expect(report).toMatchObject({ found: 20, total: 20, accuracy: 1, longest_found: 512 });
    expect(report.lengths.map(({ prompt_tokens }) => prompt_tokens)).toEqual(
      report.lengths.map(({ context_len }) =>
        expect.toSatisfy((n: number) => n <= context_len && n > context_len - 20),
      ),
    );
    await assistant.close();
  });

  it("finds them at four times that length with yarn, and without it reports what is missed", {
    timeout: 240_000,
  }, async () => {
    const scaled = await stretched({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 512 });
    const found = await ask(scaled, [1024, 2048], 1);
    await scaled.close();
    expect(found).toMatchObject({ found: 10, total: 10, longest_found: 2048 });
    const plain = await stretched({});
    const missed = await ask(plain, [512, 2048], 1);
    await plain.close();
    expect(missed).toMatchObject({ total: 10, longest_found: 512 });
    expect(missed.missed.length).toBeGreaterThan(0);
    expect(missed.missed.map(({ context_len }) => context_len)).toEqual(missed.missed.map(() => 2048));
  });
});
