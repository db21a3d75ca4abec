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
import { expectClose } from "../support/expect-close.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

const LIMITS = { max_batch_size: 3, max_input_len: 24, max_seq_len: 60 };
const PROMPTS = [[1], Array.from({ length: 19 }, (_, i) => (i * 37 + 5) % 67), [1, 45, 12, 33]];
const SIZES = {
  hidden_size: 96,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 16,
  intermediate_size: 160,
  vocab_size: 67,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
};
const work = new Workspace();
afterAll(() => work.clean());

async function checkpointOf(architecture: string, model_type: string, sizes: object, given = {}): Promise<string> {
  const outputDir = join(await work.dir(), model_type);
  const config = { ...sizes, architectures: [architecture], model_type };
  await synth({ config, dtype: "float32", seed: 11, maxShardSize: 1 << 30, outputDir });
  return convertTo(work, outputDir, "float32", given);
}

async function answersOf(checkpoint: string, build: Partial<BuildOptions>) {
  const dir = await buildTo(work, checkpoint, { ...LIMITS, ...build });
  const { graph } = await readOnnx((await openEngine(dir)).llmParts[0]?.onnx ?? "");
  const session = await openSession(dir, { threads: 1 });
  const decoding = await session.prefill(PROMPTS);
  const prefill = decoding.logits.slice();
  for (const tokens of [
    [5, 66, 17],
    [1, 2, 3],
  ])
    await decoding.step(tokens);
  decoding.select([2, 0, 0]);
  await decoding.step([9, 8, 7]);
  const stepped = decoding.logits.slice();
  const fresh = await session.prefill(PROMPTS);
  const answers = await searchTokens(fresh, PROMPTS, { ...GENERATE_DEFAULTS, maxNewTokens: 29 });
  await session.close();
  const own = graph.node.filter(({ domain }) => domain === "com.microsoft").map(({ opType }) => opType);
  return { prefill, stepped, tokens: answers.map(({ tokenIds }) => [...tokenIds]), own };
}

/** Attention nodes of ONNX Runtime's own in a static cache's graph. */
const FAMILIES = [
  ["heads that share keys", "LlamaForCausalLM", "llama", SIZES, 3],
  ["norms of q and k stay outside of the node", "Qwen3ForCausalLM", "qwen3", SIZES, 3],
  ["layers without positions", "SmolLM3ForCausalLM", "smollm3", { ...SIZES, no_rope_layers: [1, 0, 1] }, 3],
  [
    "the kernel takes no window from here",
    "Qwen3ForCausalLM",
    "qwen3",
    { ...SIZES, sliding_window: 7, use_sliding_window: true, max_window_layers: 0 },
    0,
  ],
  [
    "heads of 12 channels keep the standard",
    "LlamaForCausalLM",
    "llama",
    { ...SIZES, hidden_size: 72, head_dim: 12 },
    0,
  ],
] as const;

describe.each(FAMILIES)("ONNX Runtime's own operators: %s", (_, architecture, model_type, sizes, nodes) => {
  it(`${architecture} over a static cache has ${nodes} of its attention, and a continuous one's answers`, async () => {
    const checkpoint = await checkpointOf(architecture, model_type, sizes);
    const plain = await answersOf(checkpoint, {});
    expect(plain.own).toEqual([]);
    const own = await answersOf(checkpoint, { kv_cache_type: "static" });
    expect(own.own.filter(name => name === "GroupQueryAttention")).toHaveLength(nodes);
    expectClose(own.prefill, plain.prefill, 1e-4, "prefill");
    expectClose(own.stepped, plain.stepped, 1e-4, "steps");
    expect(own.tokens).toEqual(plain.tokens);
  });
});

it("codes of weights beside them give what they give in the standard's graph", async () => {
  const quantization = { ...NO_QUANTIZATION, use_weight_only: true };
  const checkpoint = await checkpointOf("LlamaForCausalLM", "llama", SIZES, { quantization });
  const plain = await answersOf(checkpoint, {});
  const own = await answersOf(checkpoint, { kv_cache_type: "static" });
  expect(own.own).toContain("GroupQueryAttention");
  expectClose(own.prefill, plain.prefill, 2e-2, "prefill");
});

it.each<[string, Partial<BuildOptions>]>([
  ["prompts in pieces", { kv_cache_type: "static", use_paged_context_fmha: true }],
  ["a growing cache", {}],
])("keep out of graphs for %s", async (_, build) => {
  const checkpoint = await checkpointOf("LlamaForCausalLM", "llama", SIZES);
  expect((await answersOf(checkpoint, build)).own).toEqual([]);
});
