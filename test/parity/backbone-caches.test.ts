import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { synth } from "../../src/checkpoint/synth.ts";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { readOnnx } from "../../src/formats/onnx/read.ts";
import type { BuildOptions } from "../../src/options/tables/build.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { openSession } from "../../src/runtime/session.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

const LIMITS = { max_batch_size: 3, max_input_len: 24, max_seq_len: 60 };
const PROMPTS = [[1], Array.from({ length: 19 }, (_, i) => (i * 37 + 5) % 67), [1, 45, 12, 33]];
const work = new Workspace();
afterAll(() => work.clean());

async function answersOf(checkpoint: string, build: Partial<BuildOptions>) {
  const dir = await buildTo(work, checkpoint, { ...LIMITS, ...build });
  const { graph } = await readOnnx((await openEngine(dir)).llmParts[0]?.onnx ?? "");
  const session = await openSession(dir, { threads: 1 });
  const decoding = await session.prefill(PROMPTS, undefined);
  const logits = decoding.logits.slice();
  const answers = await searchTokens(decoding, PROMPTS, { ...GENERATE_DEFAULTS, maxNewTokens: 29 });
  await session.close();
  const nodes = graph.node.filter(({ domain }) => domain === "mmtrt").map(({ opType }) => opType);
  return { logits, tokens: answers.map(({ tokenIds }) => [...tokenIds]), nodes };
}

describe("a paged cache", () => {
  it.each(["qwen3_window", "gemma2_caps", "gemma3_pattern", "internlm2_gqa", "phi3_longrope", "smollm3_window"])(
    "of %s has the tokens of a continuous one in float32, whatever the block",
    async name => {
      const checkpoint = await convertTo(work, join(FIXTURES, name), "float32");
      const plain = await answersOf(checkpoint, {});
      for (const tokens_per_block of [8, 32]) {
        const paged = await answersOf(checkpoint, { kv_cache_type: "paged", tokens_per_block });
        expectClose(paged.logits, plain.logits, 1e-4, `blocks of ${tokens_per_block}`);
        expect(paged.tokens).toEqual(plain.tokens);
      }
    },
  );
});

/** Heads of 64 channels, which the kernels take. */
const SIZES = {
  hidden_size: 96,
  num_hidden_layers: 4,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  head_dim: 64,
  intermediate_size: 160,
  vocab_size: 67,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
};
const { head_dim: _, ...WITHOUT_HEAD_DIM } = SIZES;
const FAMILIES = [
  ["norms of q and k stay outside of the node", "Qwen3ForCausalLM", "qwen3", SIZES, 4],
  ["no kernel has a soft-cap", "Gemma2ForCausalLM", "gemma2", { ...SIZES, sliding_window: null }, 0],
  [
    "layers have other windows than their neighbours",
    "Gemma3ForCausalLM",
    "gemma3_text",
    { ...SIZES, sliding_window_pattern: 2 },
    0,
  ],
  [
    "layers without positions turn by zero",
    "SmolLM3ForCausalLM",
    "smollm3",
    { ...SIZES, no_rope_layers: [1, 0, 1, 0] },
    4,
  ],
  [
    "half of each head turns, in a window",
    "Phi3ForCausalLM",
    "phi3",
    { ...WITHOUT_HEAD_DIM, hidden_size: 192, partial_rotary_factor: 0.5, sliding_window: 7 },
    4,
  ],
] as const;

describe.each(FAMILIES)("GptAttention: %s", (_, architecture, model_type, sizes, nodes) => {
  const NODES = { gpt_attention_plugin: "float16", rmsnorm_plugin: "float16", lookup_plugin: "float16" } as const;

  it(`${architecture} has ${nodes} nodes, and the numbers of standard operators over every cache`, async () => {
    const outputDir = join(await work.dir(), model_type);
    const config = { ...sizes, architectures: [architecture], model_type };
    await synth({ config, dtype: "float16", seed: 7, maxShardSize: 1 << 30, outputDir });
    const checkpoint = await convertTo(work, outputDir, "float16");
    const plain = await answersOf(checkpoint, {});
    for (const kv_cache_type of ["continuous", "static", "paged"] as const) {
      const fused = await answersOf(checkpoint, { kv_cache_type, ...NODES });
      expect(fused.nodes.filter(name => name === "GptAttention")).toHaveLength(nodes);
      expect(fused.nodes).toContain("RmsNorm");
      expectClose(fused.logits, plain.logits, 2e-2, kv_cache_type);
    }
    const quantization = { ...NO_QUANTIZATION, use_weight_only: true };
    const coded = await answersOf(await convertTo(work, outputDir, "float16", { quantization }), {});
    const scale = Math.max(1, ...plain.logits.map(Math.abs));
    // A step of INT8 is 1/127 of a column's largest weight.
    const worst = plain.logits.reduce((most, x, i) => Math.max(most, Math.abs(x - (coded.logits[i] as number))), 0);
    expect(worst / scale).toBeGreaterThan(1e-4);
    expect(worst / scale).toBeLessThan(0.1);
  });
});
