import { describe, expect, it } from "vitest";
import { findGpu, readGpus } from "../../../src/build/gpus.ts";
import { averagePerGpu, memoryAccount } from "../../../src/build/memory/account.ts";
import { kvCacheBytes } from "../../../src/build/memory/cache-items.ts";
import { fitsGpu, fitsLimit } from "../../../src/build/memory/limits.ts";
import type { MemoryInput } from "../../../src/build/memory/types.ts";
import type { SwinSpec } from "../../../src/models/spec.ts";
import { clip, decoder } from "../../support/specs.ts";

const GIB = 1024 ** 3;

/** LLaMA-2-70B: grouped-query attention with 8 key/value heads. */
const LLAMA_70B = { layers: 80, kvHeads: 8, headDim: 128 };

/** LLaVA-1.5-7B at batch 1 in TensorRT, with its real weight sizes. */
const LLAVA_7B: MemoryInput = {
  language: decoder(),
  vision: clip(),
  tpSize: 1,
  ppSize: 1,
  maxBatchSize: 1,
  maxBeamWidth: 1,
  maxInputLen: 1024,
  maxSeqLen: 2048,
  promptRows: 576,
  computeDtype: "float16",
  kvDtype: "float16",
  rankWeights: [13_476_839_424],
  visualWeights: 600_000_000,
  scoresInMemory: false,
  cacheType: "static",
  tokensPerBlock: 64,
  contextBytes: 0,
};

function bytesOf(input: MemoryInput, what: string, rank = 0): number | undefined {
  return memoryAccount(input).ranks[rank]?.items.find(item => item.what === what)?.bytes;
}

describe("the memory account", () => {
  it("needs 5 GiB of FP8 cache for 32 K tokens of LLaMA-2-70B", () => {
    expect(kvCacheBytes({ tokens: 32 * 1024, ...LLAMA_70B, bytes: 1 })).toBe(5 * GIB);
  });

  it("agrees with TensorRT-LLM: batch × beams × 2 × kv_heads × max_seq_len × head_size × layers × itemsize", () => {
    const input = { ...LLAVA_7B, maxBatchSize: 3, maxBeamWidth: 5, maxSeqLen: 989, promptRows: 3 * 576 };
    expect(bytesOf(input, "kv_cache")).toBe(3 * 5 * 2 * 32 * 989 * 128 * 32 * 2);
  });

  it("counts the image encoder of Nougat: the patches of its first stage, and windows of scores where they are kept", () => {
    const swin: SwinSpec = {
      imageSize: [897, 672],
      patchSize: [4, 4],
      channels: 3,
      embedSize: 128,
      depths: [2, 2, 14, 2],
      heads: [4, 8, 16, 32],
      windowSize: 7,
      mlpRatio: 4,
      qkvBias: true,
      activation: "gelu",
      normEps: 1e-5,
      hiddenSize: 1024,
      numVisualFeatures: 609,
    };
    const input = { ...LLAVA_7B, vision: undefined, swin, maxBatchSize: 3 };
    expect(bytesOf(input, "visual_weights")).toBe(600_000_000);
    // Residual, normed and the MLP's two buffers of 4 × 128.
    const patches = 225 * 168;
    expect(bytesOf(input, "visual_activations")).toBe(3 * (patches * (2 + 8) * 128 + 3 * 897 * 672) * 2);
    const kept = bytesOf({ ...input, scoresInMemory: true }, "visual_activations")!;
    expect(kept - bytesOf(input, "visual_activations")!).toBe(3 * 4 * patches * 49 * 4);
  });

  it("spreads (model + KV + activation) evenly: 70B in FP8 on 8 GPUs", () => {
    const model = 70e9;
    expect(averagePerGpu(model, 5 * GIB, 2 * GIB, 8)).toBe((70e9 + 7 * GIB) / 8);
    const spread = memoryAccount({ ...LLAVA_7B, vision: undefined, tpSize: 2, rankWeights: [7e9, 7e9] });
    expect(spread.average).toBe((spread.ranks[0]!.total + spread.ranks[1]!.total) / 2);
  });

  it("gives a rank its share of heads, and a whole copy of a head that there is no more of", () => {
    const language = decoder({ heads: 8, kvHeads: 2 });
    const kv = (tpSize: number): number =>
      bytesOf({ ...LLAVA_7B, language, tpSize, rankWeights: Array(tpSize).fill(1e9) }, "kv_cache")!;
    expect(kv(2)).toBe(kv(1) / 2);
    expect(kv(4)).toBe(kv(2));
  });

  it("gives a pipeline stage its share of layers, the table to the first and the logits to the last", () => {
    const input = { ...LLAVA_7B, ppSize: 2, rankWeights: [7e9, 7e9] };
    expect(bytesOf(input, "kv_cache")).toBe(bytesOf(LLAVA_7B, "kv_cache")! / 2);
    expect(bytesOf(input, "prompt_table", 0)).toBe(576 * 4096 * 2);
    expect(bytesOf(input, "prompt_table", 1)).toBeUndefined();
    expect([0, 1].map(rank => bytesOf(input, "logits", rank))).toEqual([undefined, 32064 * 6]);
    // Between the stages: batch 1 × 1024 tokens of a prompt, written by one and read by the other.
    expect([0, 1].map(rank => bytesOf(input, "hidden_states", rank))).toEqual([1024 * 4096 * 2, 1024 * 4096 * 2]);
  });

  it("counts the concatenated cache twice, since a step writes it anew", () => {
    const input = { ...LLAVA_7B, cacheType: "continuous" } as const;
    expect(bytesOf(input, "kv_cache_step")).toBe(bytesOf(LLAVA_7B, "kv_cache"));
    expect(bytesOf(LLAVA_7B, "kv_cache_step")).toBeUndefined();
  });

  it("rounds a paged cache up to whole blocks, and takes a byte for INT8 and FP8 keys", () => {
    const input = { ...LLAVA_7B, maxSeqLen: 989, maxBatchSize: 3, promptRows: 3 * 576 };
    const perToken = 2 * 32 * 128 * 32;
    expect(bytesOf({ ...input, cacheType: "paged" }, "kv_cache")).toBe(3 * 1024 * perToken * 2);
    expect(bytesOf({ ...input, cacheType: "paged", tokensPerBlock: 16 }, "kv_cache")).toBe(3 * 992 * perToken * 2);
    for (const kvDtype of ["int8", "float8_e4m3fn"] as const)
      expect(bytesOf({ ...input, kvDtype }, "kv_cache")).toBe(3 * 989 * perToken);
  });

  it("shows prefill and decode, and counts the larger once", () => {
    const [rank] = memoryAccount({ ...LLAVA_7B, maxBatchSize: 19, maxBeamWidth: 3, promptRows: 0 }).ranks;
    // 2 × 4096 + 3 × 11008 wide; a static cache of 2048 is looked at whole.
    expect(rank?.steps.map(({ step, tokens, keys, bytes }) => ({ step, tokens, keys, bytes }))).toEqual([
      { step: "prefill", tokens: 19 * 1024, keys: 2048, bytes: 19 * 1024 * (41216 * 2 + 2048) },
      { step: "decode", tokens: 57, keys: 2048, bytes: 57 * (41216 * 2 + 2048) },
    ]);
    expect(rank?.items.find(({ what }) => what === "activations")?.bytes).toBe(rank?.steps[0]?.bytes);
  });

  it("takes the pieces that prompts come in, over all that may have come before", () => {
    const pieces = { ...LLAVA_7B, cacheType: "continuous", maxBatchSize: 3, promptRows: 0, contextPiece: 97 } as const;
    expect(memoryAccount(pieces).ranks[0]?.steps[0]).toMatchObject({ tokens: 3 * 97, keys: 1023 + 97 });
  });

  it("counts the encoder of T5 beside its decoder, and the keys that it is attended by", () => {
    const encoder = { layers: 2, heads: 8, headDim: 64, intermediateSize: 2048 };
    const input = { ...LLAVA_7B, vision: undefined, promptRows: 0, encoder, encoderLen: 97, maxBatchSize: 3 };
    const language = decoder({ hiddenSize: 512, heads: 8, kvHeads: 8, headDim: 64, layers: 6, intermediateSize: 2048 });
    const width = 2 * 512 + Math.max(2 * 24 * 64 + 8 * 64, 3 * 2048);
    expect(bytesOf({ ...input, language }, "encoder_activations")).toBe(3 * 97 * ((width + 512) * 2 + 97));
    expect(bytesOf({ ...input, language }, "cross_kv_cache")).toBe(3 * 97 * 6 * 2 * 8 * 64 * 2);
    expect(bytesOf({ ...input, language, contextBytes: 19 }, "contexts")).toBe(3 * 19);
  });

  it("counts attention scores where they are written to memory", () => {
    // A static cache is looked at whole, whatever of it is filled.
    const scores = 1024 * 2048 * 32 * 4;
    expect(bytesOf({ ...LLAVA_7B, scoresInMemory: true }, "activations")! - bytesOf(LLAVA_7B, "activations")!).toBe(
      scores,
    );
  });

  it("takes decode for the peak where many beams read a long cache", () => {
    const input = { ...LLAVA_7B, maxInputLen: 1, maxBeamWidth: 19, maxSeqLen: 989, promptRows: 0, vision: undefined };
    const [rank] = memoryAccount(input).ranks;
    expect(rank?.items.find(item => item.what === "activations")?.formula).toMatch(/^decode: tokens 19 /);
  });

  it("adds up: total is the sum of its items, peak the fullest rank", () => {
    const account = memoryAccount({ ...LLAVA_7B, tpSize: 2, rankWeights: [7e9, 8e9] });
    for (const rank of account.ranks) expect(rank.total).toBe(rank.items.reduce((sum, item) => sum + item.bytes, 0));
    expect(account.peak).toBe(account.ranks[1]?.total);
  });
});

describe("fitsGpu", () => {
  it("takes LLaVA-1.5-7B in float16 on an A10", async () => {
    const gpu = await findGpu("A10", "--gpu");
    expect(fitsGpu(memoryAccount(LLAVA_7B), LLAVA_7B, gpu, "--gpu")).toBeUndefined();
  });

  it("names the largest part and a batch size that fits", async () => {
    const gpu = await findGpu("a10", "--gpu");
    const input = { ...LLAVA_7B, maxBatchSize: 64, promptRows: 64 * 576 };
    const problem = fitsGpu(memoryAccount(input), input, gpu, "--gpu (command line)");
    expect(problem).toMatchObject({ code: "BLD009", at: "--gpu (command line)" });
    expect(problem?.what).toMatch(/rank 0 needs [\d.]+ GiB and A10 has 21\.5 GiB free/);
    expect(problem?.why).toContain("the largest part is kv_cache with 64.0 GiB");
    const batch = Number(/--max_batch_size (\d+)/.exec(problem?.fix ?? "")?.[1]);
    const with_ = (n: number): MemoryInput => ({ ...LLAVA_7B, maxBatchSize: n, promptRows: n * 576 });
    expect(fitsGpu(memoryAccount(with_(batch)), with_(batch), gpu, "")).toBeUndefined();
    expect(fitsGpu(memoryAccount(with_(batch + 1)), with_(batch + 1), gpu, "")).toBeDefined();
  });

  it("says to split the weights when they alone are too large", async () => {
    const gpu = await findGpu("RTX 4090", "--gpu");
    const input = { ...LLAVA_7B, rankWeights: [140e9] };
    expect(fitsGpu(memoryAccount(input), input, gpu, "--gpu")?.fix).toBe(
      "convert with --tp_size 8 to spread the weights, or choose a larger GPU",
    );
  });
});

describe("fitsLimit", () => {
  const input = { ...LLAVA_7B, cacheType: "continuous", maxBatchSize: 19, promptRows: 19 * 576 } as const;
  const limit = 40 * GIB;
  const problem = fitsLimit(memoryAccount(input), input, limit, "--max_gpu_memory (command line)");
  const peak = (change: Partial<MemoryInput>): number => memoryAccount({ ...input, ...change }).peak;
  const asked = (flag: string): number => Number(new RegExp(`--${flag} (\\d+)`).exec(problem?.fix ?? "")?.[1]);

  it("names single changes after which the fullest rank fits, each number the largest that does", () => {
    expect(problem).toMatchObject({ code: "BLD080", at: "--max_gpu_memory (command line)" });
    const batch = asked("max_batch_size");
    expect(peak({ maxBatchSize: batch, promptRows: batch * 576 })).toBeLessThanOrEqual(limit);
    expect(peak({ maxBatchSize: batch + 1, promptRows: (batch + 1) * 576 })).toBeGreaterThan(limit);
    const length = asked("max_seq_len");
    expect(peak({ maxSeqLen: length, maxInputLen: Math.min(length, 1024) })).toBeLessThanOrEqual(limit);
    expect(peak({ maxSeqLen: length + 1, maxInputLen: Math.min(length + 1, 1024) })).toBeGreaterThan(limit);
    expect(problem?.fix).toMatch(/convert with --tp_size \d+ to spread the weights/);
    expect(problem?.fix.split(", or ")).toContain(`--max_gpu_memory ${Math.ceil(peak({}) / 1024 ** 2)}MiB`);
  });

  it("names no change that would not be enough, and nothing at all where it fits", () => {
    // Half of a doubled cache of 38 GiB is still more than 16 GiB leave beside the weights.
    const tight = fitsLimit(memoryAccount(input), input, 16 * GIB, "");
    expect(tight?.fix).not.toContain("static");
    expect(fitsLimit(memoryAccount(input), input, peak({}), "")).toBeUndefined();
    const roomy = fitsLimit(memoryAccount(input), input, peak({ cacheType: "static" }), "");
    expect(roomy?.fix.split(", or ")).toContain("--kv_cache_type static");
  });
});

describe("configs/gpus", () => {
  it("describes at least twelve GPUs, no two answering to one name", async () => {
    const gpus = await readGpus();
    expect(gpus.length).toBeGreaterThanOrEqual(12);
    const names = gpus.flatMap(gpu => [gpu.name, ...gpu.aliases]).map(name => name.toLowerCase());
    expect(new Set(names).size).toBe(names.length);
  });

  it("has plausible numbers: fp8 where the hardware has it, memory and bandwidth of a GPU", async () => {
    for (const gpu of await readGpus()) {
      expect(gpu.peak_tflops.fp8 !== null, gpu.name).toBe(gpu.sm >= 89);
      expect(gpu.memory_mib, gpu.name).toBeGreaterThan(8 * 1024);
      expect(gpu.bandwidth_gb_s / gpu.peak_tflops.fp16, gpu.name).toBeLessThan(20);
    }
  });

  it("finds a GPU whatever the case, spaces and dashes", async () => {
    expect((await findGpu("rtx-4090", "")).name).toBe("RTX 4090");
    expect((await findGpu("a100_80", "")).memory_mib).toBe(81920);
  });

  it("refuses an unknown GPU with the known ones", async () => {
    await expect(findGpu("V100", "--gpu (command line)")).rejects.toThrow(/BLD008.*"V100" is not known.*A10, /s);
  });
});
