import { describe, expect, expectTypeOf, it } from "vitest";
import { MmtrtError, type Problem } from "../../../src/diagnostics/index.ts";
import { defineOptions, type Values, withDefaults } from "../../../src/options/define.ts";
import { peekCommon, type Resolved, resolve } from "../../../src/options/resolve.ts";

const table = defineOptions({
  model_dir: { type: "path", required: true, positional: true, aliases: [{ name: "i" }], about: "The model." },
  max_batch_size: {
    type: "integer",
    minimum: 1,
    maximum: 989,
    default: 1,
    about: "Most sequences.",
    aliases: [{ name: "batch" }],
  },
  max_input_len: { type: "integer", minimum: 1, default: 1024, about: "Longest prompt." },
  max_seq_len: {
    type: "integer",
    about: "Longest prompt and answer.",
    aliases: [{ name: "max_output_len", plus: "max_input_len" }],
  },
  max_multimodal_len: {
    type: "integer",
    minimum: 0,
    words: ["auto"],
    default: "auto",
    about: "Rows of the prompt table.",
  },
  dtype: {
    type: "string",
    enum: ["auto", "float16"],
    synonyms: { fp16: "float16" },
    default: "auto",
    about: "Element type.",
  },
  kv_cache_type: {
    type: "string",
    enum: ["continuous", "paged"],
    default: "continuous",
    about: "Cache.",
    aliases: [{ name: "paged_kv_cache", values: { enable: "paged", disable: "continuous" }, bare: "enable" }],
  },
  temperature: { type: "number", exclusiveMinimum: 0, default: 1, about: "Divides the logits." },
  context_fmha: { type: "boolean", default: true, about: "Fused attention." },
  lora_dir: { type: "path", list: true, about: "Adapters." },
  input_text: { type: "string", list: true, commas: false, default: [], about: "Prompts." },
  stop_ids: { type: "integer", list: true, about: "Tokens that end." },
  paged_state: { type: "boolean", hidden: true, about: "Old.", ignored: "there is no such state" },
});

type Options = Values<typeof table>;

function read(argv: readonly string[], env: Record<string, string> = {}): Promise<Resolved<typeof table>> {
  return resolve("build", table, { argv, env });
}

async function problems(argv: readonly string[], env: Record<string, string> = {}): Promise<readonly Problem[]> {
  const error: unknown = await read(argv, env).then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(MmtrtError);
  expect((error as MmtrtError).exitCode).toBe(2);
  return (error as MmtrtError).problems;
}

describe("the types of an option table", () => {
  it("are exact: unions from enum and words, undefined without default", () => {
    expectTypeOf<Options["model_dir"]>().toEqualTypeOf<string>();
    expectTypeOf<Options["dtype"]>().toEqualTypeOf<"auto" | "float16">();
    expectTypeOf<Options["max_batch_size"]>().toEqualTypeOf<number>();
    expectTypeOf<Options["max_seq_len"]>().toEqualTypeOf<number | undefined>();
    expectTypeOf<Options["max_multimodal_len"]>().toEqualTypeOf<number | "auto">();
    expectTypeOf<Options["lora_dir"]>().toEqualTypeOf<readonly string[] | undefined>();
    expectTypeOf<Options["input_text"]>().toEqualTypeOf<readonly string[]>();
    expectTypeOf<Options["context_fmha"]>().toEqualTypeOf<boolean>();
  });

  it("give withDefaults the same values that resolve gives to an empty line", async () => {
    expect(withDefaults(table, { model_dir: "m" })).toEqual((await read(["m"])).options);
  });
});

describe("the command line", () => {
  it("takes snake_case and kebab-case, = and a space", async () => {
    const spellings = [
      ["--max_batch_size", "19"],
      ["--max-batch-size", "19"],
      ["--max_batch_size=19"],
      ["--max-batch_size=19"],
    ];
    for (const flags of spellings) expect((await read(["m", ...flags])).options.max_batch_size).toBe(19);
  });

  it.each([
    ["--context_fmha", true],
    ["--context_fmha enable", true],
    ["--context_fmha=on", true],
    ["--context_fmha disable", false],
    ["--context-fmha false", false],
    ["--no_context_fmha", false],
    ["--no-context-fmha", false],
  ])("reads the boolean %s", async (line, value) => {
    expect((await read(["m", ...line.split(" ")])).options.context_fmha).toBe(value);
  });

  it("leaves the word after a boolean alone when it is no switch word", async () => {
    const { options } = await read(["--context_fmha", "m"]);
    expect([options.context_fmha, options.model_dir]).toEqual([true, "m"]);
  });

  it("collects a list from several words, commas and repetition", async () => {
    const { options } = await read([
      "m",
      "--lora_dir",
      "a",
      "b",
      "--stop_ids",
      "1,19",
      "--lora-dir",
      "c,d",
      "--stop_ids=989",
    ]);
    expect(options.lora_dir).toEqual(["a", "b", "c", "d"]);
    expect(options.stop_ids).toEqual([1, 19, 989]);
  });

  it("keeps commas in free text", async () => {
    expect((await read(["m", "--input_text", "what, exactly?", "and why?"])).options.input_text).toEqual([
      "what, exactly?",
      "and why?",
    ]);
  });

  it("takes a negative number and a text with dashes as values", async () => {
    expect((await problems(["m", "--max_batch_size", "-3"]))[0]).toMatchObject({
      code: "CFG002",
      what: expect.stringContaining("got -3"),
    });
    expect((await read(["m", "--input_text", "-- what?", "--why not?"])).options.input_text).toEqual([
      "-- what?",
      "--why not?",
    ]);
  });

  it("takes words beside numbers, and synonyms with a note", async () => {
    const { options, notes } = await read(["m", "--max_multimodal_len", "auto", "--dtype", "fp16"]);
    expect([options.max_multimodal_len, options.dtype]).toEqual(["auto", "float16"]);
    expect(notes).toEqual(["--dtype: fp16 is taken as float16"]);
  });

  it("ignores a pasted comment with a note", async () => {
    const { options, notes } = await read(["m", "--max_batch_size", "8", "#", "for", "8 images", "--dtype", "float16"]);
    expect([options.max_batch_size, options.dtype]).toEqual([8, "float16"]);
    expect(notes).toEqual(["ignored the comment: # for 8 images"]);
  });

  it("passes on what follows -- only where the command wants it", async () => {
    const { passthrough } = await resolve("build", table, {
      argv: ["m", "--", "--fp16", "x"],
      env: {},
      passthrough: true,
    });
    expect(passthrough).toEqual(["--fp16", "x"]);
    expect(await problems(["m", "--", "--fp16"])).toMatchObject([
      { code: "CFG011", what: expect.stringContaining("--fp16") },
    ]);
  });
});

describe("old spellings", () => {
  it("work and name the modern form", async () => {
    const { options, notes, origin } = await read(["-i", "m", "--batch", "3", "--paged_kv_cache", "enable"]);
    expect([options.model_dir, options.max_batch_size, options.kv_cache_type]).toEqual(["m", 3, "paged"]);
    expect(notes).toEqual([
      "-i is an old spelling: write --model_dir m",
      "--batch is an old spelling: write --max_batch_size 3",
      "--paged_kv_cache is an old spelling: write --kv_cache_type paged",
    ]);
    expect(origin("max_batch_size")).toBe("--batch (command line)");
  });

  it("may stand without a value where the other tool allows that", async () => {
    const { options, notes } = await read(["m", "--paged_kv_cache", "--batch", "3"]);
    expect([options.kv_cache_type, options.max_batch_size]).toEqual(["paged", 3]);
    expect(notes).toContain("--paged_kv_cache is an old spelling: write --kv_cache_type paged");
    expect(await problems(["m", "--batch"])).toMatchObject([{ code: "CFG003" }]);
  });

  it("add up: max_output_len is counted after max_input_len, wherever that comes from", async () => {
    const flags = await read(["m", "--max_output_len", "20", "--max_input_len", "989"]);
    expect(flags.options.max_seq_len).toBe(1009);
    expect(flags.notes).toEqual([
      "--max_output_len is an old spelling: write --max_seq_len 1009 (max_input_len 989 + 20)",
    ]);
    expect((await read(["m", "--max_output_len", "20"], { MMTRT_MAX_INPUT_LEN: "1" })).options.max_seq_len).toBe(21);
    expect((await read(["m", "--max_output_len", "20"])).options.max_seq_len).toBe(1044);
  });

  it("say when they have no effect", async () => {
    expect((await read(["m", "--paged_state", "enable"])).notes).toEqual([
      "--paged_state has no effect: there is no such state",
    ]);
  });
});

describe("precedence and origin", () => {
  it("is flag, then environment, then default", async () => {
    const env = { MMTRT_MAX_BATCH_SIZE: "3", MMTRT_DTYPE: "float16", MMTRT_STOP_IDS: "1,19", MMTRT_CONTEXT_FMHA: "0" };
    const { options, origin, given } = await read(["m", "--max-batch-size", "5"], env);
    expect(options).toMatchObject({
      max_batch_size: 5,
      dtype: "float16",
      stop_ids: [1, 19],
      context_fmha: false,
      max_input_len: 1024,
    });
    expect(origin("build.max_batch_size")).toBe("--max-batch-size (command line)");
    expect(origin("dtype")).toBe("MMTRT_DTYPE (environment)");
    expect(origin("max_input_len")).toBe("--max_input_len (default)");
    expect(origin("model_dir")).toBe("MODEL_DIR (command line)");
    expect([given("dtype"), given("max_input_len")]).toEqual([true, false]);
  });

  it("lets another command's variable be, and reports one that no command has", async () => {
    expect(
      (await read(["m"], { MMTRT_NUM_BEAMS: "4", MMTRT_TEST_PYTHON: "x", OTHER: "x" })).options.max_batch_size,
    ).toBe(1);
    expect(await problems(["m"], { MMTRT_MAX_BATCH_SIZ: "4" })).toMatchObject([
      { code: "CFG007", at: "MMTRT_MAX_BATCH_SIZ (environment)", fix: "did you mean MMTRT_MAX_BATCH_SIZE?" },
    ]);
  });
});

describe("a wrong command line", () => {
  it("gets every problem at once", async () => {
    const found = await problems([
      "--max_batch_sise",
      "3",
      "--max_input_len",
      "0",
      "--dtype",
      "float61",
      "--temperature=0",
      "--lora_dir",
      "--max_seq_len",
      "x",
    ]);
    expect(found.map(p => [p.code, p.what])).toEqual([
      ["CFG001", "unknown flag --max_batch_sise"],
      ["CFG003", "--lora_dir has no value"],
      ["CFG002", "max_input_len must be a whole number of at least 1; got 0"],
      ["CFG002", "dtype must be one of auto, float16; got float61"],
      ["CFG002", "temperature must be a number above 0; got 0"],
      ["CFG002", "max_seq_len must be a whole number; got x"],
      ["CFG004", "MODEL_DIR is missing"],
    ]);
    expect(found[0]?.fix).toBe("did you mean --max_batch_size?");
    expect(found[3]?.fix).toBe("did you mean float16?");
  });

  it.each(["1.5", "1e400", "0x10", "", " 3", "9007199254740993", "NaN", "990"])(
    "refuses %j as a batch size of at most 989",
    async text => {
      expect(await problems(["m", `--max_batch_size=${text}`])).toMatchObject([
        { code: "CFG002", at: "--max_batch_size (command line)" },
      ]);
    },
  );

  it("refuses two different values, under whatever spelling, and takes the same one twice", async () => {
    expect(await problems(["m", "--max_batch_size", "3", "--batch", "4"])).toMatchObject([
      {
        code: "CFG010",
        what: "max_batch_size is given twice: 3 by --max_batch_size (command line), then 4",
      },
    ]);
    expect((await read(["m", "--max_batch_size", "3", "--max-batch-size=3"])).options.max_batch_size).toBe(3);
  });

  it("refuses words that belong to nothing and values of no_ flags", async () => {
    expect((await problems(["m", "n"])).map(p => [p.code, p.what])).toEqual([["CFG009", "n belongs to no option"]]);
    expect(await problems(["m", "--no_context_fmha=true"])).toMatchObject([{ code: "CFG002" }]);
  });

  it("does not report a bad required option as missing too", async () => {
    expect((await problems(["--model_dir"])).map(p => p.code)).toEqual(["CFG003"]);
  });

  it("is not fooled by names of Object's own properties", async () => {
    expect(
      (await problems(["m", "--constructor", "3", "--dtype", "toString", "--__proto__=1"])).map(p => p.code),
    ).toEqual(["CFG001", "CFG001", "CFG002"]);
  });
});

describe("the options of every command", () => {
  it("are read even from a line that is wrong elsewhere", () => {
    expect(peekCommon(["--nonsense", "--json", "--max_batch_size"], {}, table)).toMatchObject({
      json: true,
      quiet: false,
      color: "auto",
    });
    expect(peekCommon(["-q"], { MMTRT_JSON: "1", MMTRT_COLOR: "purple" })).toMatchObject({
      json: true,
      quiet: true,
      color: "auto",
    });
    expect(peekCommon(["--input_text", "--json is a flag"], {}, table).json).toBe(false);
  });
});
