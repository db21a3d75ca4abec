import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type ReferenceTensor, readReference, row } from "../support/reference.ts";
import { type Finished, Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";
import { splitLanguage } from "../support/split-language.ts";

/**
 * The commands of TensorRT-LLM's examples/multimodal, flag by flag, on the small trained models: only lengths and the
 * number of visual features are theirs. The flags of plugins ask for the checkpoint's dtype, as there.
 */
const RECIPES: readonly Recipe[] = [
  {
    name: "BLIP2-OPT, and --max_prompt_embedding_table_size for --max_multimodal_len",
    model: "blip2-opt-shapes",
    convert: "--model_type blip2 --dtype float16 --log_level info",
    build:
      "--gemm_plugin float16 --gpt_attention_plugin float16 --bert_attention_plugin float16 --moe_plugin float16 --context_fmha enable --remove_input_padding enable --paged_kv_cache disable --use_fused_mlp --max_beam_width 1 --max_batch_size 8 --max_multimodal_len 72 --max_input_len 100 --max_output_len 20",
    older:
      "--use_gemm_plugin float16 --use_gpt_attention_plugin float16 --use_context_fmha --max_beam_width 1 --max_batch_size 8 --max_prompt_embedding_table_size 72 --max_input_len 100 --max_output_len 20",
    ask: 1,
  },
  {
    name: "BLIP2-T5",
    model: "blip2-t5-shapes",
    convert: "--model_type blip2 --dtype float32",
    build:
      "--gemm_plugin disable --max_beam_width 1 --max_batch_size 8 --max_multimodal_len 72 --max_encoder_input_len 60 --max_input_len 1 --max_output_len 39",
    older:
      "--gemm_plugin disable --max_beam_width 1 --max_batch_size 8 --max_prompt_embedding_table_size 72 --max_encoder_input_len 60 --max_input_len 1 --max_output_len 39",
    ask: 1,
  },
  {
    name: "BLIP2-T5",
    model: "blip2-t5-shapes",
    convert: "--model_type blip2 --tp_size 1 --pp_size 1 --weight_data_type float32 --dtype bfloat16",
    build:
      "--paged_kv_cache disable --moe_plugin disable --enable_xqa disable --use_custom_all_reduce disable --gemm_plugin bfloat16 --bert_attention_plugin bfloat16 --gpt_attention_plugin bfloat16 --remove_input_padding enable --context_fmha disable --max_beam_width 1 --max_batch_size 8 --max_seq_len 21 --max_encoder_input_len 100 --max_input_len 1 --max_multimodal_len 72",
    older:
      "--model_type t5 --dtype bfloat16 --use_gemm_plugin bfloat16 --use_bert_attention_plugin bfloat16 --use_gpt_attention_plugin bfloat16 --max_batch_size 8 --max_encoder_input_len 100 --max_input_len 1 --max_output_len 20 --max_multimodal_len 72",
    notes: ["--weight_data_type is deprecated: write --dtype; beside --dtype it says nothing"],
    run: "--max_new_tokens 20",
    ask: 1,
  },
  {
    name: "LLaVA",
    model: "llava-shapes",
    convert: "--dtype float16",
    build:
      "--gemm_plugin float16 --use_fused_mlp --max_batch_size 1 --max_input_len 128 --max_output_len 32 --max_multimodal_len 81",
    older:
      "--gemm_plugin float16 --use_fused_mlp enable --max_batch_size 1 --max_input_len 128 --max_seq_len 160 --max_multimodal_len 81",
    ask: 2,
  },
  {
    name: "VILA, two pictures a prompt",
    model: "vila-shapes",
    convert: "--dtype float16",
    build:
      "--gemm_plugin float16 --use_fused_mlp --max_batch_size 1 --max_input_len 128 --max_output_len 32 --max_multimodal_len 32",
    older:
      "--gemm_plugin float16 --use_fused_mlp enable --max_batch_size 1 --max_input_len 128 --max_seq_len 160 --max_multimodal_len 64",
    questions: "questions_two.jsonl",
    sep: ",",
    run: "--path_sep ,",
    ask: 1,
  },
  {
    name: "Nougat",
    model: "nougat-shapes",
    convert:
      "--model_type bart --nougat --weight_data_type float32 --dtype float16 --tp_size 1 --pp_size 1 --max_multimodal_len 84",
    notes: [
      "--nougat has no effect: the architecture is read from config.json",
      "--weight_data_type is deprecated: write --dtype; beside --dtype it says nothing",
    ],
    build:
      "--paged_kv_cache disable --gemm_plugin float16 --bert_attention_plugin float16 --moe_plugin disable --use_custom_all_reduce disable --gpt_attention_plugin float16 --remove_input_padding enable --context_fmha disable --enable_xqa disable --max_beam_width 1 --max_batch_size 1 --max_seq_len 56 --max_input_len 1 --max_encoder_input_len 84",
    older:
      "--model_type bart --nougat --dtype float16 --use_gemm_plugin --use_bert_attention_plugin --use_gpt_attention_plugin --engine_name nougat --max_batch_size 1 --max_output_len 55 --max_input_len 1 --max_multimodal_len 84",
    questions: "pages.jsonl",
    run: "--max_new_tokens 54",
    ask: 1,
  },
];

interface Recipe {
  readonly name: string;
  readonly model: string;
  readonly convert: string;
  readonly build: string;
  /** The same in the words of another release. */
  readonly older: string;
  readonly questions?: string;
  /** Pictures are given as one text with this between them, as TensorRT-LLM's runner takes them. */
  readonly sep?: string;
  /** What `convert` says of old flags. */
  readonly notes?: readonly string[];
  readonly run?: string;
  /** Which held-out line is asked, counted from 0. */
  readonly ask: number;
}

interface Question {
  readonly image?: string;
  readonly images?: readonly string[];
  readonly question?: string;
  readonly expected: string;
}

const fixture = (model: string): string => join(ROOT, "test/fixtures/models", model);

function heldOut({ model, questions = "../../llava-shapes/heldout/questions.jsonl", ask }: Recipe): Question {
  const file = join(fixture(model), "heldout", questions);
  const question = JSON.parse(readFileSync(file, "utf8").split("\n")[ask] as string) as Question;
  const { image, images = [image as string] } = question;
  return { ...question, images: images.map(name => resolve(dirname(file), name)) };
}

describe.each(RECIPES)("the recipe of $name", recipe => {
  const rig = new Rig();
  afterAll(() => rig.close());

  it("converts, builds in either spelling, and answers a held-out question", { timeout: 120_000 }, async () => {
    const converted = ["convert", fixture(recipe.model), "--output_dir", "checkpoint", ...recipe.convert.split(" ")];
    const { code, stderr } = await rig.run(converted);
    expect(code, stderr).toBe(0);
    for (const note of recipe.notes ?? []) expect(stderr).toContain(note);
    const { images = [], question, expected } = heldOut(recipe);
    for (const [i, flags] of [recipe.build, recipe.older].entries()) {
      const built = await rig.run([
        "build",
        "--checkpoint_dir",
        "checkpoint",
        "--output_dir",
        `engine${i}`,
        ...flags.split(" "),
      ]);
      expect(built, built.stderr).toMatchObject({ code: 0 });
      const dirs = `--visual_engine_dir engine${i}/visual --llm_engine_dir engine${i}/${existsSync(join(rig.dir, `engine${i}/llm`)) ? "llm" : "decoder"}`;
      const answered = await rig.run([
        "run",
        ...dirs.split(" "),
        "--hf_model_dir",
        fixture(recipe.model),
        ...["--image_path", images.join(recipe.sep ?? "")],
        ...(question === undefined ? [] : ["--input_text", question]),
        ...(recipe.run?.split(" ") ?? []),
      ]);
      // Nothing around it: the runner of TensorRT-LLM strips answers too.
      expect(answered.stdout, answered.stderr).toBe(`${expected}\n`);
      expect(answered.stderr).toContain(
        "--hf_model_dir has no effect: tokenizer and image processor are in the engine",
      );
    }
  });
});

describe("the recipe of BLIP2-OPT with OPT from a directory of its own", () => {
  const rig = new Rig();
  afterAll(() => rig.close());

  it("joins the two, and answers a held-out question", { timeout: 120_000 }, async () => {
    const recipe = { ...(RECIPES[0] as Recipe), ask: 2 };
    const { see, speak } = await splitLanguage(fixture(recipe.model), rig.dir, "OPTForCausalLM");
    const done = async (...argv: readonly string[]): Promise<Finished> => {
      const finished = await rig.run(argv);
      expect(finished.code, finished.stderr).toBe(0);
      return finished;
    };
    await done("convert", see, "--llm_dir", speak, "--output_dir", "checkpoint");
    await done(
      "build",
      "--checkpoint_dir",
      "checkpoint",
      "--output_dir",
      "engine",
      ...recipe.build.replaceAll("float16", "auto").split(" "),
    );
    const { images = [], question = "", expected } = heldOut(recipe);
    const { stdout } = await done("run", "--engine_dir", "engine", "--image", ...images, "--input_text", question);
    expect(stdout).toBe(`${expected}\n`);
    const other = await rig.run([
      "run",
      "--engine_dir",
      "engine",
      "--visual_engine_dir",
      "elsewhere",
      "--image",
      ...images,
    ]);
    expect(other.code).toBe(2);
    expect(other.stderr).toMatch(/error\[RUN030\].*elsewhere is not the visual part of engine.*--llm_dir/s);
  });
});

describe("the recipe of BLIP2-T5", () => {
  const rig = new Rig();
  afterAll(() => rig.close());

  it("converts in float32 and gives transformers' tokens for three prompts", { timeout: 120_000 }, async () => {
    const model = join(ROOT, "test/fixtures/parity/blip2t5_plain");
    const convert = [
      "convert",
      model,
      "--output_dir",
      "checkpoint",
      "--model_type",
      "blip2",
      "--weight_data_type",
      "float32",
    ];
    expect(await rig.run(convert)).toMatchObject({ code: 0 });
    const flags =
      "--paged_kv_cache disable --moe_plugin disable --enable_xqa disable --use_custom_all_reduce disable --dtype float32 --gemm_plugin disable --bert_attention_plugin float32 --gpt_attention_plugin float32 --remove_input_padding enable --context_fmha disable --max_beam_width 1 --max_batch_size 8 --max_multimodal_len 40 --max_encoder_input_len 24 --max_input_len 1 --max_output_len 39";
    const built = await rig.run([
      "build",
      "--checkpoint_dir",
      "checkpoint",
      "--output_dir",
      "engine",
      ...flags.split(" "),
    ]);
    expect(built, built.stderr).toMatchObject({ code: 0 });

    const file = join(model, "reference.safetensors");
    const reference = await readReference(file);
    const rows = (name: string): number[][] => {
      const tensor = reference.get(name) as ReferenceTensor;
      return Array.from({ length: tensor.shape[0] as number }, (_, i) => [...row(tensor, i)]);
    };
    const mask = rows("b3.attention_mask");
    const prompts = rows("b3.input_ids").map((ids, item) => ids.filter((_, i) => mask[item]?.[i] === 1));
    const ids = rig.file("ids.json", JSON.stringify(prompts));
    const asked = ["--input_ids", ids, "--pixel_values", file, "--max_new_tokens", "32", "--json"];
    const answered = await rig.run(["run", "--engine_dir", "engine", ...asked]);
    expect(answered, answered.stderr).toMatchObject({ code: 0 });
    const result = JSON.parse(answered.stdout.trimEnd().split("\n").at(-1) as string) as {
      readonly outputs: readonly { readonly token_ids: readonly number[] }[];
    };
    expect(result.outputs.map(({ token_ids }) => token_ids)).toEqual(rows("b3.tokens"));
  });
});

describe("a recipe that is corrected", () => {
  const rig = new Rig();
  afterAll(() => rig.close());

  it("says why Nougat's encoder length is another, and builds", async () => {
    const convert = ["convert", fixture("nougat-shapes"), "--output_dir", "nougat", "--quiet"];
    expect((await rig.run(convert)).code).toBe(0);
    const flags =
      "--checkpoint_dir nougat --output_dir engine --max_input_len 1 --max_seq_len 56 --max_encoder_input_len 83";
    const { code, stdout, stderr } = await rig.run(["build", ...flags.split(" ")]);
    expect(code, stderr).toBe(0);
    expect(stdout + stderr).toMatch(
      /max_encoder_input_len 83 → 84\W+an image always gives 84 visual features, and the decoder attends to all of them/,
    );
  });
});

describe("a recipe that cannot work", () => {
  const rig = new Rig();
  afterAll(() => rig.close());

  it("is refused with a prompt table of one image for a batch of 8, saying how many rows it needs", async () => {
    const convert = await rig.run(["convert", fixture("blip2-opt-shapes"), "--output_dir", "blip2", "--quiet"]);
    expect(convert.code).toBe(0);
    const argv = ["build", "--checkpoint_dir", "blip2", "--output_dir", "engine", "--max_batch_size", "8"];
    for (const flag of ["--max_multimodal_len", "--max_prompt_embedding_table_size"]) {
      const { code, stderr } = await rig.run([...argv, "--max_input_len", "100", "--max_seq_len", "120", flag, "9"]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/error\[BLD014\].*9 is too small for max_batch_size 8/);
      expect(stderr).toMatch(/8 × 9 = 72 rows\n {2}fix {2}--max_multimodal_len 72, or --max_batch_size 1\n/);
    }
  });

  it("is refused with INT8 or INT4 weights of BLIP2-T5", async () => {
    const model = join(ROOT, "test/fixtures/parity/blip2t5_plain");
    for (const precision of ["int8", "int4"]) {
      const flags = `--output_dir t5 --model_type blip2 --use_weight_only --weight_only_precision ${precision}`;
      const { code, stderr } = await rig.run(["convert", model, ...flags.split(" ")]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/error\[CKP080\]/);
      expect(existsSync(join(rig.dir, "t5"))).toBe(false);
    }
  });

  it("is refused with a fused MLP of quantized weights", async () => {
    const quantized = "--output_dir int8 --use_weight_only --weight_only_precision int8 --quiet";
    const converted = await rig.run(["convert", fixture("llava-shapes"), ...quantized.split(" ")]);
    expect(converted.code, converted.stderr).toBe(0);
    const flags = "--checkpoint_dir int8 --output_dir engine --max_input_len 128 --max_output_len 32 --use_fused_mlp";
    const { code, stderr } = await rig.run(["build", ...flags.split(" ")]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/error\[BLD035\]: use_fused_mlp with quant_algo W8A16\n {2}at {3}--use_fused_mlp/);
  });

  it("is refused with a dtype that only convert can give, naming its flag", async () => {
    const convert = `convert ${fixture("blip2-opt-shapes")} --output_dir single --dtype float32 --quiet`;
    expect((await rig.run(convert.split(" "))).code).toBe(0);
    for (const dtype of ["bfloat16", "float16"]) {
      const { code, stderr } = await rig.run(
        `build --checkpoint_dir single --output_dir engine --max_input_len 100 --dtype ${dtype}`.split(" "),
      );
      expect(code).toBe(1);
      expect(stderr).toMatch(/error\[BLD070\]/);
      expect(stderr).toContain(`leave it out and convert with --dtype ${dtype}`);
    }
  });

  it.each([
    ["blip2t5_plain", "3", "83"],
    ["nougat_odd", "2", "89"],
  ])("of %s is refused with tp_size %s, which does not divide the vocabulary of %s", async (model, tp, vocab) => {
    const model_dir = join(ROOT, "test/fixtures/parity", model);
    const { code, stderr } = await rig.run(["convert", model_dir, "--output_dir", model, "--tp_size", tp]);
    expect(code).toBe(1);
    expect(stderr).toContain(`error[CKP052]: tp_size ${tp} does not divide vocab_size ${vocab}\n  at   --tp_size`);
  });
});
