import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Finished, Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

/** Tiny T5, BART and mBART with tokenizers (test/reference/make_text_pair_fixtures.py) through the command line. */
interface Entry {
  readonly text: string;
  readonly options: Readonly<Record<string, number | boolean>>;
  readonly ids: readonly number[];
  readonly tokens: readonly number[];
  readonly answer: string;
}

interface Output {
  readonly text: string;
  readonly token_ids: readonly number[];
  readonly finish_reason: string;
}

const rig = new Rig();
afterAll(() => rig.close());

const fixture = (name: string): string => join(ROOT, "test/fixtures", name);
const argsOf = (options: Entry["options"]): string[] =>
  Object.entries(options).flatMap(([key, value]) => (value === true ? [`--${key}`] : [`--${key}`, `${value}`]));

async function engineOf(model: string, name: string): Promise<void> {
  const made = ["convert", fixture(model), "--output_dir", `${name}.checkpoint`, "--dtype", "float32"];
  expect(await rig.run(made)).toMatchObject({ code: 0 });
  const limits = ["--max_batch_size", "4", "--max_beam_width", "4", "--max_encoder_input_len", "90"];
  const built = ["build", "--checkpoint_dir", `${name}.checkpoint`, "--output_dir", name, ...limits];
  const finished = await rig.run([...built, "--max_input_len", "1", "--max_seq_len", "40"]);
  expect(finished, finished.stderr).toMatchObject({ code: 0 });
}

const outputsOf = ({ stdout }: Finished): readonly Output[] =>
  (JSON.parse(stdout.trimEnd().split("\n").at(-1) as string) as { readonly outputs: readonly Output[] }).outputs;

describe.each(["t5_words", "bart_words", "mbart_words"])("%s from its files alone", model => {
  const entries = JSON.parse(readFileSync(join(fixture(`text/${model}`), "answers.json"), "utf8")) as readonly Entry[];
  const requests = [...new Map(entries.map(entry => [JSON.stringify(entry.options), entry.options])).values()];
  beforeAll(() => engineOf(`text/${model}`, model), 60_000);

  it.each(requests)("answers four texts with transformers' tokens and words: %o", async options => {
    const wanted = entries.filter(entry => JSON.stringify(entry.options) === JSON.stringify(options));
    expect(wanted).toHaveLength(4);
    const texts = wanted.flatMap(({ text }) => ["--input_text", text]);
    const finished = await rig.run(["run", "--engine_dir", model, ...texts, ...argsOf(options), "--json"]);
    expect(finished, finished.stdout).toMatchObject({ code: 0 });
    const outputs = outputsOf(finished);
    expect(outputs.map(({ token_ids }) => token_ids)).toEqual(wanted.map(({ tokens }) => tokens));
    expect(outputs.map(({ text }) => text)).toEqual(wanted.map(({ answer }) => answer));
  });

  it("has every stage of the reference, down to the prompt's tokens", async () => {
    const reference = join(fixture(`text/${model}`), "verify.safetensors");
    const finished = await rig.run(["verify", "--engine_dir", model, "--reference", reference]);
    expect(finished, finished.stdout).toMatchObject({ code: 0, stderr: "" });
    expect(finished.stdout).toMatch(/^prompt +equal/m);
    expect(finished.stdout).toMatch(/^tokens_free +equal/m);
    expect(finished.stdout).not.toContain("skipped");
  });
});
