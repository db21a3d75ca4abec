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

describe("mmtrt run on encoder-decoders", () => {
  const nougat = fixture("models/nougat-shapes");
  const page = join(nougat, "heldout/page_000.png");
  const first = (text: string): string => text.split("\n").slice(0, 2).join("\n");
  const run = (engine: string, ...argv: string[]): Promise<Finished> =>
    rig.run(["run", "--engine_dir", engine, ...argv]);
  beforeAll(async () => {
    await engineOf("parity/blip2t5_plain", "blip2");
    expect(await rig.run(["convert", nougat, "--output_dir", "nougat.checkpoint"])).toMatchObject({ code: 0 });
    const build = ["build", "--checkpoint_dir", "nougat.checkpoint", "--output_dir", "nougat", "--max_batch_size", "8"];
    expect(await rig.run([...build, "--max_input_len", "1", "--max_seq_len", "56"])).toMatchObject({ code: 0 });
  }, 60_000);

  it("names what generation_config.json asks for, unless the flags are given", async () => {
    const plain = await run("bart_words", "--input_text", "the fox");
    expect(plain).toMatchObject({ code: 0 });
    expect(plain.stderr).toBe(
      "note: generation_config.json asks for --min_new_tokens 8 --num_beams 4 --no_repeat_ngram_size 3 --length_penalty 2 --early_stopping; run does so when these flags are given\n",
    );
    const typed = "--min_new_tokens 8 --num_beams 4 --no_repeat_ngram_size 3 --length_penalty 2 --early_stopping";
    expect(await run("bart_words", "--input_text", "the fox", ...typed.split(" "))).toMatchObject({
      code: 0,
      stderr: "",
    });
    // One who types greedy search wants it, and then the settings of beams are none.
    const greedy = await run("bart_words", "--input_text", "the fox", "--num_beams", "1", "--min_new_tokens", "0");
    expect(greedy.stderr).toBe(
      "note: generation_config.json asks for --no_repeat_ngram_size 3; run does so when these flags are given\n",
    );
    expect((await run("t5_words", "--input_text", "the fox")).stderr).toBe("");
  });

  it("names settings that it does not have, and sampling in its own words", async () => {
    cpSync(join(rig.dir, "t5_words"), join(rig.dir, "sampled"), { recursive: true });
    const settings = { do_sample: true, top_p: 0.9, bad_words_ids: [[3]], suppress_tokens: [], typical_p: 1 };
    writeFileSync(join(rig.dir, "sampled/tokenizer/generation_config.json"), JSON.stringify(settings));
    const { stderr } = await run("sampled", "--input_text", "the fox");
    expect(stderr).toContain("asks for --top_k 50 --top_p 0.9; run does so");
    expect(stderr).toContain("note: generation_config.json sets bad_words_ids, which run does not have\n");
  });

  it("says how more pages than the engine takes at once are read", async () => {
    const nine = new Array<string>(9).fill(page).flatMap(one => ["--image", one]);
    const { code, stderr } = await run("nougat", ...nine);
    expect(code).toBe(1);
    expect(stderr).toMatch(/RUN010\]: batch is 9 .*--batch_size 1 reads the pages one after another/s);
  });

  it("refuses a directory without its encoder, naming the files", async () => {
    for (const [missing, file] of [
      ["encoder", "encoder/rank0.onnx"],
      ["decoder/cross_rank0.onnx", "decoder/cross_rank0.onnx"],
    ] as const) {
      cpSync(join(rig.dir, "bart_words"), join(rig.dir, "cut"), { recursive: true });
      rmSync(join(rig.dir, "cut", missing), { recursive: true });
      const reference = join(fixture("text/bart_words"), "verify.safetensors");
      for (const argv of [
        ["run", "--engine_dir", "cut", "--input_text", "the fox"],
        ["verify", "--engine_dir", "cut", "--reference", reference],
      ]) {
        const finished = await rig.run(argv);
        expect(finished).toMatchObject({ code: 1, stdout: "" });
        expect(first(finished.stderr)).toMatch(
          new RegExp(`^error\\[BLD002\\]: cut/${file}: .* needs it and it is missing`),
        );
      }
      rmSync(join(rig.dir, "cut"), { recursive: true });
    }
  });

  it.each([
    ["t5_words", ["--image", page], /^error\[RUN015\]: --image is given; T5ForConditionalGeneration takes no images/],
    [
      "t5_words",
      ["--input_text", "hi", "--pixel_values", join(fixture("parity/nougat_odd"), "verify.safetensors")],
      /^error\[RUN015\]: --pixel_values is given/,
    ],
    [
      "nougat",
      ["--image", page, "--input_text", "hi"],
      /^error\[RUN022\]: --input_text is given; the model takes pictures/,
    ],
    ["nougat", [], /^error\[RUN016\]: there is no picture to read/],
    [
      "nougat",
      ["--image", page, "--max_new_tokens", "99"],
      /^error\[RUN010\]: past \+ seq is 99 .*\n {2}at {3}--image /,
    ],
    ["t5_words", ["--input_text", "the fox ".repeat(60)], /^error\[RUN010\]: encoder_seq is \d+ .* takes 1 to 90/],
    ["blip2", ["--input_text", "hi"], /^error\[RUN005\]: blip2\/tokenizer has no tokenizer.json/],
    [
      "blip2",
      ["--input_ids", "ids.json", "--pixel_values", join(fixture("parity/nougat_odd"), "verify.safetensors")],
      /^error\[RUN010\]: a preprocessed picture has 55 × 42 pixels; the visual engine takes 26 × 26/,
    ],
  ] as const)("refuses %s %j with one clear error", async (engine, argv, error) => {
    rig.file("ids.json", "[5, 6]");
    const finished = await run(engine, ...argv);
    expect(finished.code).toBeGreaterThan(0);
    expect(finished.stdout).toBe("");
    expect(first(finished.stderr)).toMatch(error);
  });

  it("says that a tokenizer is another model's where its ids are outside the vocabulary", async () => {
    cpSync(join(rig.dir, "t5_words"), join(rig.dir, "other"), { recursive: true });
    for (const name of ["tokenizer.json", "tokenizer_config.json"])
      cpSync(join(fixture("text/bart_words"), name), join(rig.dir, "other/tokenizer", name));
    const finished = await run("other", "--input_text", "the fox");
    expect(finished).toMatchObject({ code: 1, stdout: "" });
    expect(finished.stderr).toMatch(/^error\[RUN013\]: prompt 1 has token id \d+; the model knows 0 to 91\n/);
    expect(finished.stderr).toContain("take this model's own tokenizer");
    const reference = join(fixture("text/t5_words"), "verify.safetensors");
    const verified = await rig.run(["verify", "--engine_dir", "other", "--reference", reference]);
    expect(verified.code).toBe(4);
    expect(first(verified.stderr)).toMatch(/^error\[NUM002\]: stage prompt differs: token 0 of \d+ is/);
  });

  it.each([
    ["t5_words", join(nougat, "reference.safetensors"), /NUM004\].* has no input_ids and no decoder_input_ids/],
    ["nougat", join(fixture("text/t5_words"), "verify.safetensors"), /NUM004\].* has pixel_values of 0 images/],
    ["t5_words", join(fixture("parity/nougat_odd"), "verify.safetensors"), /NUM004\].* has no input_ids; T5/],
    ["t5_words", "nothing.safetensors", /CKP001\]: .*nothing.safetensors does not exist/],
    ["t5_words", page, /CKP\d+\]/],
  ] as const)("verify refuses %s with the reference %s", async (engine, reference, error) => {
    const finished = await rig.run(["verify", "--engine_dir", engine, "--reference", reference]);
    expect(finished).toMatchObject({ code: 1, stdout: "" });
    expect(first(finished.stderr)).toMatch(error);
  });

  it("reads every held-out page through check_accuracy, and refuses a question about one", {
    timeout: 120_000,
  }, async () => {
    const file = join(nougat, "heldout/pages.jsonl");
    const checked = ["--max_new_tokens", "54", "--accuracy_threshold", "0.995", "--quiet"];
    const finished = await run("nougat", "--check_accuracy", file, ...checked);
    expect(finished, finished.stderr).toMatchObject({ code: 0, stdout: "accuracy 100.00 % (40 of 40)\n" });
    const asked = rig.file("asked.jsonl", `${JSON.stringify({ image: page, question: "what?", expected: "x" })}\n`);
    const refused = await run("nougat", "--check_accuracy", asked);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/^error\[RUN022\]: .*asked.jsonl:1 has a question; the model takes pictures alone/);
  });
});
