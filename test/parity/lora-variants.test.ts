import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openSession } from "../../src/runtime/session.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { expectClose } from "../support/expect-close.ts";
import { asked } from "../support/packed.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";

const LORA = new URL("../fixtures/lora/", import.meta.url).pathname;
const PROMPTS = [[5, 17, 33, 9, 41], [7, 7, 12], [3]];
const TASKS = [1, -1, 0];
const work = new Workspace();
afterAll(() => work.clean());

type Given = Parameters<typeof convertTo>[3];

/** Logits of a mixed batch after the prompt and after one token, from any way to build the model. */
async function logitsOf(
  name: string,
  dtype: FloatDtype,
  convert: Given = {},
  build: Parameters<typeof buildTo>[2] = {},
  tasks: readonly number[] = TASKS,
) {
  const checkpoint = await convertTo(work, join(FIXTURES, name), dtype, convert);
  const lora_dir = [join(LORA, name, "first"), join(LORA, name, "second")];
  const limits = { max_batch_size: 3, max_input_len: 16, max_seq_len: 40, max_lora_rank: 8, lora_dir };
  const session = await openSession(await buildTo(work, checkpoint, { ...limits, ...build }), { threads: 1 });
  const decoding = await session.prefill(PROMPTS, undefined, tasks);
  const prompt = decoding.logits.slice();
  await decoding.step([11, 12, 13]);
  const after = decoding.logits.slice();
  await session.close();
  return [prompt, after] as const;
}

function parallel(tpSize: number, ppSize: number): Given {
  return { parallel: { tpSize, ppSize, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false } };
}

describe("adapters of a model that is split", () => {
  it.each([
    ["llama_gqa", 2, 1],
    ["llama_gqa", 1, 3],
    ["llama_gqa", 2, 3],
    ["llama_gqa", 6, 1],
    ["gpt2_usual", 2, 1],
    ["gpt2_usual", 3, 1],
  ])(
    "%s with tp_size %i and pp_size %i: every rank has its share, and the logits are the whole model's",
    async (name, tp, pp) => {
      const whole = await logitsOf(name, "float32");
      const split = await logitsOf(name, "float32", parallel(tp, pp));
      for (const [i, when] of ["prompt", "step"].entries())
        expectClose(split[i] as Float32Array, whole[i] as Float32Array, 1e-4, when);
    },
  );
});

describe("adapters beside", () => {
  it("a static cache give the logits of a growing one", async () => {
    const [growing, fixed] = [
      await logitsOf("qwen2_mqa", "float32"),
      await logitsOf("qwen2_mqa", "float32", {}, { kv_cache_type: "static" }),
    ];
    expectClose(fixed[1], growing[1], 1e-4, "logits of a step");
  });

  it("half-precision weights stay within 2e-2 of float32, relative to the logits", async () => {
    const [single, half] = [await logitsOf("llama_gqa", "float32"), await logitsOf("llama_gqa", "float16")];
    const scale = Math.max(...single[0].map(Math.abs));
    expectClose(
      half[0].map(x => x / scale),
      single[0].map(x => x / scale),
      2e-2,
      "logits",
    );
  });
});

describe("a graph that takes adapters", () => {
  it("gives a row without one the bits of a row beside rows that have some", async () => {
    const checkpoint = await convertTo(work, join(FIXTURES, "llama_gqa"), "float32");
    const engine = await buildTo(work, checkpoint, {
      max_batch_size: 3,
      max_seq_len: 40,
      max_input_len: 16,
      lora_dir: [join(LORA, "llama_gqa", "first")],
    });
    const session = await openSession(engine, { threads: 1 });
    const mixed = await session.prefill(
      [
        [4, 9],
        [4, 9],
        [4, 9],
      ],
      undefined,
      [0, -1, 0],
    );
    const plain = await session.prefill(
      [
        [4, 9],
        [4, 9],
        [4, 9],
      ],
      undefined,
      [-1, -1, -1],
    );
    const row = (all: Float32Array): number[] => [...all.subarray(mixed.vocab, 2 * mixed.vocab)];
    expect(row(mixed.logits)).toEqual(row(plain.logits));
    expect([...mixed.logits.subarray(0, mixed.vocab)]).not.toEqual([...plain.logits.subarray(0, mixed.vocab)]);
    await session.close();
  });
});

describe("beginnings kept between requests", () => {
  it("are kept apart for each adapter: every answer is the one without them", async () => {
    const checkpoint = await convertTo(work, join(FIXTURES, "llama_gqa"), "float32");
    const lora_dir = [join(LORA, "llama_gqa", "first"), join(LORA, "llama_gqa", "second")];
    const limits = { max_batch_size: 3, max_input_len: 64, max_seq_len: 80, max_num_tokens: 24, tokens_per_block: 8 };
    const engine = await buildTo(work, checkpoint, {
      ...limits,
      use_paged_context_fmha: true,
      max_lora_rank: 8,
      lora_dir,
    });
    const prompt = Array.from({ length: 19 }, (_, i) => 3 + ((i * 7) % 90));
    const keeping = await openSession(engine, { threads: 1, reuseBytes: 1 << 20 });
    const plain = await openSession(engine, { threads: 1 });
    for (const tasks of [
      [0, -1, 1],
      [1, 0, -1],
      [0, 0, 0],
    ]) {
      const prompts = tasks.map(() => prompt);
      const [kept, fresh] = [
        await keeping.prefill(prompts, undefined, tasks),
        await plain.prefill(prompts, undefined, tasks),
      ];
      expectClose(kept.logits, fresh.logits, 1e-4, `adapters ${tasks}`);
    }
    // Two blocks of 8 of each of three adapters, computed once; all later rows begin with them.
    expect(keeping.reuse).toMatchObject({ blocks: 6, reusedTokens: 16 * 6 });
    await keeping.close();
    await plain.close();
  });
});

describe("adapters of a model with quantized weights", () => {
  it("add to the quantized product what they add to the float one", async () => {
    const int8 = asked({ use_weight_only: true });
    const [base, adapted] = [
      await logitsOf("llama_gqa", "float32", int8, {}, [-1, -1, -1]),
      await logitsOf("llama_gqa", "float32", int8),
    ];
    const plain = await logitsOf("llama_gqa", "float32");
    const scale = Math.max(...plain[0].map(Math.abs));
    const furthest = (a: Float32Array, b: Float32Array): number =>
      Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number)))) / scale;
    // INT8 weights are near the float ones, and adapters move the logits by far more than rounding does.
    expect(furthest(adapted[0], plain[0])).toBeLessThan(0.04);
    expect(furthest(adapted[0], base[0])).toBeGreaterThan(0.4);
  });
});
