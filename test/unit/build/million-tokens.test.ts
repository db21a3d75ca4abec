import { describe, expect, it } from "vitest";
import type { BuildPlan } from "../../../src/build/plan.ts";
import { planShapes } from "../../../src/build/plan-build.ts";
import { publishedModels } from "../../../src/checkpoint/published.ts";
import { NO_QUANTIZATION } from "../../../src/checkpoint/quantization-options.ts";
import { weightlessCheckpoint } from "../../../src/checkpoint/weightless.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../../src/options/tables/build.ts";

const GIB = 1024 ** 3;
const MODEL = "llama-3-70b-gradient-1048k";
const config = (await publishedModels()).find(({ name }) => name === MODEL)?.config ?? {};

/** `mmtrt plan --model llama-3-70b-gradient-1048k --tp_size 8 --max_num_tokens 4096 …`: a million tokens on eight GPUs. */
async function planned(
  given: Partial<BuildOptions> = {},
  formats: Partial<typeof NO_QUANTIZATION> = {},
): Promise<BuildPlan> {
  const origin = (key: string): string => `--${key}`;
  const { checkpoint } = weightlessCheckpoint({
    config,
    name: MODEL,
    dtype: "bfloat16",
    parallel: { tpSize: 8, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
    quantization: { ...NO_QUANTIZATION, ...formats },
    version: "0.0.0-test",
    origin,
  });
  const said: Partial<BuildOptions> = {
    backend: "tensorrt",
    max_seq_len: 1_048_576,
    max_input_len: 1_048_064,
    max_num_tokens: 4096,
    use_paged_context_fmha: true,
    kv_cache_type: "static",
    workers: 8,
    gpu: "H100",
    ...given,
  };
  const options = withDefaults(buildOptions, { checkpoint_dir: "", output_dir: "", ...said });
  return planShapes(checkpoint, options, { version: "0.0.0-test", origin, given: key => key in said });
}

function partsOf({ memory }: BuildPlan): Record<string, number> {
  return Object.fromEntries(memory.ranks[0]?.items.map(({ what, bytes }) => [what, bytes]) ?? []);
}

describe("a million tokens of LLaMA-3-70B on eight GPUs", () => {
  it("takes what arithmetic by hand says, rank by rank, and fits an H100", async () => {
    const plan = await planned();
    expect(plan.problems).toEqual([]);
    // One layer of a rank: 8 query heads, one key and one value head of 128; an eighth of 28672 in the MLP; two norms.
    const layer = (8 + 1 + 1) * 128 * 8192 + 8192 * 8 * 128 + 3 * 3584 * 8192 + 2 * 8192;
    // The embedding whole, an eighth of lm_head, the last norm.
    const weights = (80 * layer + 128_256 * 8192 + 16_032 * 8192 + 8192) * 2;
    // TensorRT-LLM: batch × beams × 2 × kv_heads × max_seq_len × head_size × layers × itemsize.
    const cache = 1 * 1 * 2 * 1 * 1_048_576 * 128 * 80 * 2;
    expect(cache).toBe(40 * GIB);
    // 4096 tokens of 2 × 8192 + 3 × 3584 values, and a byte for each that looks at each of a million keys.
    const activations = 4096 * 27_136 * 2 + 4096 * 1_048_576;
    const parts = { weights, kv_cache: cache, activations, logits: 16_032 * 6, contexts: 8 * 1024 ** 2 };
    expect(plan.memory.ranks).toHaveLength(8);
    expect(partsOf(plan)).toEqual(parts);
    const total = Object.values(parts).reduce((sum, bytes) => sum + bytes, 0);
    for (const rank of plan.memory.ranks) expect(rank.total).toBe(total);
    expect(total / GIB).toBeCloseTo(62.4, 1);
  });

  it("has the sizes of its steps from the profiles of its engines", async () => {
    const plan = await planned();
    const [context, generation] = plan.engines[0]?.profiles ?? [];
    const [prefill, decode] = plan.memory.ranks[0]?.steps ?? [];
    expect(context?.sizes.seq?.max).toBe(prefill?.tokens);
    expect(generation?.shapes.cache_key_0?.max[2]).toBe(decode?.keys);
    const grown = await planned({ kv_cache_type: "continuous" });
    const sizes = grown.engines[0]?.profiles[0]?.sizes;
    expect((sizes?.past?.max ?? 0) + (sizes?.seq?.max ?? 0)).toBe(grown.memory.ranks[0]?.steps[0]?.keys);
  });

  it("does not fit with a cache that is copied as it grows, and says what would", async () => {
    const [problem] = (await planned({ kv_cache_type: "continuous" })).problems;
    expect(problem).toMatchObject({
      code: "BLD009",
      at: "--gpu",
      what: expect.stringMatching(/rank 0 needs 10\d\.\d GiB/),
    });
    const ways = problem?.fix.split(", or ") ?? [];
    expect(ways).toContain("--kv_cache_type static");
    // It would fit, and another rule refuses it for prompts in pieces.
    expect(ways).not.toContain("convert with --int8_kv_cache");
    const length = Number(/--max_seq_len (\d+)/.exec(problem?.fix ?? "")?.[1]);
    const shorter = { max_seq_len: length, max_input_len: Math.min(length, 1_048_064) };
    expect((await planned({ kv_cache_type: "continuous", ...shorter })).problems).toEqual([]);
  });

  it("takes half the cache in INT8, and weights in INT4 groups with a scale for each 128 codes", async () => {
    const given = { kv_cache_type: "continuous" } as const;
    const plan = await planned(given, { qformat: "int4_wo", group_size: 128, int8_kv_cache: true });
    const codes = (8 + 1 + 1) * 128 * 8192 + 8192 * 8 * 128 + 3 * 3584 * 8192;
    // Half a byte a code, two a scale and two for the cache's; norms, embedding and lm_head stay as they are.
    const weights = 80 * (codes / 2 + (codes / 128) * 2 + 2 + 2 * 8192 * 2) + (128_256 + 16_032 + 1) * 8192 * 2;
    expect(partsOf(plan)).toMatchObject({ weights, kv_cache: 20 * GIB, kv_cache_step: 20 * GIB });
    // No kernel reads codes for prompts in pieces; memory is not what refuses it.
    expect(plan.problems.map(({ code }) => code)).toEqual(["BLD034"]);
  });

  it("predicts each builder, so that a limit decides how many of eight run at a time", async () => {
    const free = (await planned()).build_memory;
    expect(free.builders).toHaveLength(8);
    expect(free.workers).toBe(8);
    // The file's pages, the builder's copy, the serialized engine; the other layout of a single row's kernels besides.
    expect(free.peak).toBeGreaterThan(3 * 19e9);
    const limit = Math.ceil((3 * free.peak) / GIB);
    const plan = await planned({ max_build_memory: `${limit}GiB` });
    expect(plan.workers).toBe(3);
    expect(plan.adjustments.find(({ option }) => option === "workers")).toMatchObject({ from: 8, to: 3 });
    const [problem] = (await planned({ max_build_memory: "19GiB" })).problems;
    expect(problem).toMatchObject({ code: "BLD081", at: "--max_build_memory" });
    expect(problem?.fix).toContain(`--max_build_memory ${Math.ceil(free.peak / 1024 ** 2)}MiB`);
  });
});
