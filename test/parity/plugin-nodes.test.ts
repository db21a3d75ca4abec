import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { searchBeams } from "../../src/runtime/generate/beam.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession } from "../../src/runtime/session.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { constantRanges, WIDE, wideHeads } from "../support/wide-heads.ts";
import { fixtureDir } from "./runtime-fixtures.ts";

const LIMITS = { max_batch_size: 3, max_beam_width: 3, max_input_len: 40, max_seq_len: 80 };
/** Nodes are asked for by name, because no library is loaded here: what runs are their bodies. */
const NODES = {
  gpt_attention_plugin: "float16",
  weight_only_quant_matmul_plugin: "float16",
  rmsnorm_plugin: "float16",
  lookup_plugin: "float16",
} as const;

/** Unlike lengths; the ids of the last one from the vocabulary's size on are the picture's features. */
const PROMPTS: readonly (readonly number[])[] = [
  [1],
  Array.from({ length: 19 }, (_, i) => (i * 37 + 5) % WIDE.vocab),
  [1, ...Array.from({ length: 16 }, (_, i) => WIDE.vocab + i), 45, 99],
];

const work = new Workspace();
afterAll(() => work.clean());

let model: string;
let half: string;
let single: string;
beforeAll(async () => {
  model = await wideHeads(work);
  [half, single] = [await convertTo(work, model, "float16"), await convertTo(work, model, "float32")];
});

/** Logits after the prompts, greedy answers and beams, and the operations of domain `mmtrt` in the decoder. */
async function answersOf(checkpoint: string, build: Partial<BuildOptions>) {
  const dir = await buildTo(work, checkpoint, { ...LIMITS, ...build });
  const part = (await openEngine(dir)).llmParts[0];
  const { graph } = await readOnnx(part?.onnx ?? "");
  const session = await openSession(dir, { threads: 1 });
  const image = { height: 30, width: 30, data: Float32Array.from({ length: 2700 }, (_, i) => Math.sin(i)) };
  const features = await session.encodeImages([image]);
  const options = { ...GENERATE_DEFAULTS, maxNewTokens: 37 };
  const decoding = await session.prefill(PROMPTS, features);
  const logits = decoding.logits.slice();
  const greedy = await searchTokens(decoding, PROMPTS, options);
  const beams = await searchBeams(await session.prefill(PROMPTS, features), PROMPTS, { ...options, numBeams: 3 });
  await session.close();
  const nodes = graph.node.filter(({ domain }) => domain === "mmtrt").map(({ opType }) => opType);
  const tokens = (answers: readonly { readonly tokenIds: ArrayLike<number> }[]) =>
    answers.map(({ tokenIds }) => Array.from(tokenIds));
  return { logits, greedy: tokens(greedy), beams: tokens(beams), nodes: [...new Set(nodes)].sort() };
}

const CACHES = [
  { kv_cache_type: "continuous" },
  { kv_cache_type: "static" },
  { kv_cache_type: "paged", tokens_per_block: 16 },
] as const;

describe("fused operations as nodes", () => {
  it.each(CACHES)("compute over a $kv_cache_type cache what standard operators do, in float16", async cache => {
    const plain = await answersOf(half, {});
    const fused = await answersOf(half, { ...cache, ...NODES });
    expect(plain.nodes).toEqual(["Attention"]);
    expect(fused.nodes).toEqual(["GptAttention", "PromptTuningEmbedding", "RmsNorm"]);
    expectClose(fused.logits, plain.logits, 2e-2, "logits");
    expect(fused.greedy).toEqual(plain.greedy);
  });

  it("compute the same with products, MLPs and the image encoder as nodes too", async () => {
    const wide = await wideHeads(work, {}, { hidden_size: 48 });
    const checkpoint = await convertTo(work, wide, "float16");
    const plain = await answersOf(checkpoint, {});
    const words = { gemm_plugin: "float16", bert_attention_plugin: "float16", use_fused_mlp: true } as const;
    const fused = await answersOf(checkpoint, { ...NODES, ...words });
    expect(fused.nodes).toEqual(["FusedGatedMlp", "Gemm", "GptAttention", "PromptTuningEmbedding", "RmsNorm"]);
    expectClose(fused.logits, plain.logits, 2e-2, "logits");
    expect([fused.greedy, fused.beams]).toEqual([plain.greedy, plain.beams]);
  });

  it.each([{ smoothquant: 0.5 }, { smoothquant: 0.5, per_token: true, per_channel: true }] as const)(
    "compute what standard operators do of SmoothQuant's codes: $per_token",
    async format => {
      const quantization = { ...NO_QUANTIZATION, ...format, act_ranges: await constantRanges(work) };
      const checkpoint = await convertTo(work, model, "float16", { quantization });
      const plain = await answersOf(checkpoint, { smooth_quant_gemm_plugin: "disable" });
      const fused = await answersOf(checkpoint, { smooth_quant_gemm_plugin: "float16" });
      expect(fused.nodes).toContain("SmoothQuantMatmul");
      expectClose(fused.logits, plain.logits, 2e-2, "logits");
    },
  );

  it("with windows of tokens shorter than the prompt", async () => {
    const config = { model_type: "mistral", sliding_window: 7 };
    const checkpoint = await convertTo(work, await wideHeads(work, config), "float16");
    const plain = await answersOf(checkpoint, {});
    for (const cache of CACHES) {
      const fused = await answersOf(checkpoint, { ...cache, ...NODES });
      expectClose(fused.logits, plain.logits, 2e-2, cache.kv_cache_type);
      expect(fused.greedy).toEqual(plain.greedy);
    }
  });

  it.each([
    { ...NO_QUANTIZATION, use_weight_only: true },
    { ...NO_QUANTIZATION, use_weight_only: true, weight_only_precision: "int4", group_size: 32 },
    { ...NO_QUANTIZATION, use_weight_only: true, int8_kv_cache: true },
  ] as const)("with codes for weights or cache: $weight_only_precision, cache $int8_kv_cache", async format => {
    const quantization = format.int8_kv_cache ? { ...format, act_ranges: await constantRanges(work) } : format;
    const checkpoint = await convertTo(work, model, "float16", { quantization });
    const plain = await answersOf(checkpoint, {});
    for (const cache of CACHES) {
      const fused = await answersOf(checkpoint, { ...cache, ...NODES });
      expect(fused.nodes).toContain("WeightOnlyMatmul");
      expectClose(fused.logits, plain.logits, 2e-2, cache.kv_cache_type);
    }
  });
});

describe("layer norms as nodes", () => {
  it.each(["gpt2-shapes", "blip2-opt-shapes"])("of %s compute what standard operators do", async name => {
    const checkpoint = await convertTo(work, fixtureDir(`models/${name}`), "float16");
    const logits = async (build: Partial<BuildOptions>) => {
      const dir = await buildTo(work, checkpoint, { ...LIMITS, max_input_len: 110, max_seq_len: 118, ...build });
      const { graph } = await readOnnx((await openEngine(dir)).llmParts[0]?.onnx ?? "");
      const session = await openSession(dir, { threads: 1 });
      const { logits: found } = await session.prefill([[5], [1, 2, 3, 9, 11, 40, 7]], undefined);
      await session.close();
      return { found, nodes: graph.node.filter(({ opType }) => opType === "LayerNorm").length };
    };
    const [plain, fused] = [await logits({}), await logits({ layernorm_plugin: "float16" })];
    expect(plain.nodes).toBe(0);
    expect(fused.nodes % 2).toBe(1);
    expectClose(fused.found, plain.found, 2e-2, "logits");
  });
});

describe("a paged cache", () => {
  it("in float32 has no nodes and the tokens of a continuous one, greedy and with beams, whatever the block", async () => {
    const plain = await answersOf(single, {});
    for (const tokens_per_block of [8, 16, 128]) {
      const paged = await answersOf(single, { kv_cache_type: "paged", tokens_per_block });
      expect(paged.nodes).toEqual(["Attention"]);
      expectClose(paged.logits, plain.logits, 1e-4, `blocks of ${tokens_per_block}`);
      expect([paged.greedy, paged.beams]).toEqual([plain.greedy, plain.beams]);
    }
  });
});
