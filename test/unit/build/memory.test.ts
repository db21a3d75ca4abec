import { describe, expect, it } from "vitest";
import { findGpu, readGpus } from "../../../src/build/gpus.ts";
import { averagePerGpu, fitsGpu, kvCacheBytes, type MemoryInput, memoryAccount } from "../../../src/build/memory.ts";
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
  cacheIsCopied: false,
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
    expect(bytesOf(input, "activations", 1)! - bytesOf(input, "activations", 0)!).toBe(32064 * 6);
  });

  it("counts the concatenated cache twice, since a step writes it anew", () => {
    const plain = memoryAccount(LLAVA_7B);
    const copied = memoryAccount({ ...LLAVA_7B, cacheIsCopied: true });
    expect(copied.peak - plain.peak).toBe(bytesOf(LLAVA_7B, "kv_cache"));
  });

  it("counts attention scores where they are written to memory", () => {
    const scores = 1024 * 1024 * 32 * 4;
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
      "convert with --tp_size 2 to spread the weights, or choose a larger GPU",
    );
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
