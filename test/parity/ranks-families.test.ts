import { cp } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Workspace } from "../support/pipeline.ts";
import { compareSplit, expectAllEqual, type Made, resized, type Split } from "../support/ranks.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const T5 = { num_heads: 4, vocab_size: 92, d_ff: 52, num_layers: 2, num_decoder_layers: 2 };
const BART = { encoder_attention_heads: 4, decoder_attention_heads: 4, encoder_layers: 2, vocab_size: 100 };
const SIGHT = { build: { max_input_len: 60, max_seq_len: 70 } };
/** Without the image processor's file pictures of these small patches have 88 features at least. */
const WIDE = { build: { max_input_len: 130, max_seq_len: 140 } };
const LLAMA = { num_attention_heads: 8, num_key_value_heads: 2, hidden_size: 64, num_hidden_layers: 4 };

/** Every family that TensorRT-LLM splits, at sizes that its parity fixture has not: the model in one piece is the reference. */
const CASES: readonly (readonly [string, object, number, Split, Made, string])[] = [
  ["llama_gqa", LLAMA, 4, { tp: 4 }, {}, "2 key/value heads on 4 ranks, 131 words padded to 132"],
  ["llama_gqa", LLAMA, 4, { tp: 2, pp: 2, table: 0 }, {}, "every way of splitting at once"],
  ["llama_gqa", LLAMA, 4, { tp: 2, pp: 2 }, { dtype: "float16" }, "sums rounded to float16"],
  [
    "llava_mqa",
    { text_config: { num_attention_heads: 4 } },
    3,
    { tp: 4, table: 0 },
    SIGHT,
    "one key/value head for all",
  ],
  ["llava_qwen2", {}, 2, { tp: 2, pp: 2 }, {}, "Qwen2 behind a vision tower"],
  ["idefics3_gqa", {}, 2, { tp: 2, pp: 2 }, SIGHT, "tiles of an image on the first stage"],
  ["gemma3_images", {}, 3, { tp: 2, pp: 3 }, SIGHT, "tokens that see each other both ways on every stage"],
  ["paligemma2_window", {}, 3, { tp: 2, pp: 3 }, SIGHT, "prompts that see all of themselves on every stage"],
  ["qwen2_5_vl_odd", {}, 2, { tp: 2, pp: 2 }, WIDE, "positions on three axes on every stage"],
  ["qwen3_vl_odd", {}, 3, { tp: 2 }, WIDE, "features behind the first layers, norms of q and k"],
  ["internlm2_gqa", {}, 3, { tp: 2, pp: 3 }, {}, "q, k and v by groups of heads in one weight"],
  ["mistral_gqa", {}, 3, { tp: 2, pp: 3 }, {}, "three stages"],
  ["opt_pre", { num_attention_heads: 4 }, 3, { tp: 4, table: 1 }, {}, "positions by columns"],
  ["t5_plain", T5, 2, { tp: 2, pp: 2 }, {}, "relative positions by heads, scaled logits"],
  ["t5_gated", { ...T5, d_kv: 8 }, 2, { tp: 4 }, {}, "gated, a head of its own"],
  ["t5_multilingual_gated", { ...T5, num_heads: 2 }, 2, { tp: 2, pp: 2 }, {}, "a head of its own, split"],
  ["gpt2_usual", { n_head: 4, n_embd: 40 }, 3, { tp: 4 }, {}, "one head a rank"],
  [
    "phi3_window",
    { num_attention_heads: 4, num_key_value_heads: 2, intermediate_size: 56 },
    3,
    { tp: 4 },
    {},
    "fused weights, each part split by itself",
  ],
  ["bart_post", BART, 2, { tp: 4, pp: 2 }, {}, "eight ranks"],
  ["bart_post", BART, 2, { tp: 2, pp: 2 }, {}, "post-norm, learned positions, biases"],
  ["mbart_pre", BART, 2, { tp: 4 }, {}, "pre-norm, scaled embeddings"],
  ["nougat_odd", { decoder: { vocab_size: 90 } }, 2, { tp: 2, pp: 2 }, {}, "image features attended to"],
  ["nougat_odd", { decoder: { vocab_size: 92 } }, 2, { tp: 4 }, {}, "the image encoder whole, its decoder on four"],
  ["blip2t5_gated", { text_config: { num_heads: 4, vocab_size: 72 } }, 2, { tp: 4 }, {}, "one head a rank"],
  [
    "blip2t5_gated",
    { text_config: { num_heads: 4, vocab_size: 72 } },
    2,
    { tp: 2, pp: 2 },
    {},
    "queries in the encoder's prompt",
  ],
];

const work = new Workspace();
afterAll(() => work.clean());

describe.each(CASES)("%s with %j", (fixture, sizes, layers, split, made, what) => {
  it(`as ${JSON.stringify(split)} computes what it does in one piece: ${what}`, async () => {
    const model = await resized(work, fixture, sizes as Readonly<Record<string, unknown>>);
    expectAllEqual(await compareSplit(work, model, split, made), layers);
  });
});

describe("VILA's three folders", () => {
  it("as 4 ranks, two on each key/value head, compute what they do in one piece", async () => {
    const model = join(await work.dir(), "vila");
    await cp(fixtureDir("parity/vila_linear"), model, { recursive: true });
    const sizes = { hidden_size: 32, head_dim: 8, num_attention_heads: 4, intermediate_size: 44, vocab_size: 79 };
    await cp(await resized(work, "llama_gqa", sizes), join(model, "llm"), { recursive: true });
    expectAllEqual(await compareSplit(work, model, { tp: 4 }, SIGHT), 3);
  });
});

describe("adapters", () => {
  it("beside the products of 2 × 3 ranks are in their sums", async () => {
    const lora = fixtureDir("lora/llama_gqa");
    const build = { max_lora_rank: 8, lora_dir: [`${lora}/first`, `${lora}/second`] };
    const model = fixtureDir("parity/llama_gqa");
    expectAllEqual(await compareSplit(work, model, { tp: 2, pp: 3 }, { build }), 3);
  });
});

const INT8 = { use_weight_only: true } as const;
const INT4 = { use_weight_only: true, weight_only_precision: "int4" } as const;

/** Weights become codes after the split, as TensorRT-LLM has it: only scales of groups are the same as in one piece. */
describe.each([
  ["INT8", INT8, 5e-2],
  ["INT8 with lm_head", { ...INT8, quantize_lm_head: true }, 5e-2],
  ["INT4 in groups of 16", { ...INT4, group_size: 16 }, 1e-4],
])("weights of %s", (_, quantization, tolerance) => {
  it(`as 2 ranks are within ${tolerance} of one piece`, async () => {
    const model = await resized(work, "llama_gqa", { ...LLAMA, head_dim: 16, vocab_size: 132, intermediate_size: 96 });
    const results = await compareSplit(work, model, { tp: 2 }, { quantization });
    expectAllEqual(results, 4);
    const scales = results.map(({ limit = 0, difference }) => limit / Math.max(1, difference?.scale ?? 0));
    expect(Math.max(...scales)).toBeCloseTo(tolerance, 9);
  });
});

const LLAVA = fixtureDir("models/llava-shapes");
const CALIBRATED = { calib_dataset: `${LLAVA}/heldout/questions.jsonl`, calib_size: 4 } as const;

/** What is measured is measured on the model in one piece, so scales are the same on every rank. */
describe.each([
  ["static SmoothQuant", { smoothquant: 0.5 }],
  ["FP8", { qformat: "fp8" }],
  ["INT4 AWQ", { qformat: "int4_awq", awq_block_size: 16 }],
  ["an INT8 cache", { int8_kv_cache: true }],
] as const)("the trained LLaVA with %s", (_, format) => {
  it("as 2 ranks computes what it does in one piece", async () => {
    const made = {
      quantization: { ...CALIBRATED, ...format },
      build: { max_input_len: 130, max_seq_len: 160 },
    };
    expectAllEqual(await compareSplit(work, LLAVA, { tp: 2 }, made), 4);
  });
});
