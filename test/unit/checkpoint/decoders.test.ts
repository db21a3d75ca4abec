import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { convert } from "../../../src/checkpoint/convert.ts";
import type { Parallel } from "../../../src/checkpoint/shard.ts";
import { ROOT } from "../../support/sources.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mmtrt-decoders-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function converted(fixture: string, parallel: Partial<Parallel>): ReturnType<typeof convert> {
  return convert({
    modelDir: join(ROOT, "test/fixtures/parity", fixture),
    outputDir: join(dir, "out"),
    dtype: "float16",
    parallel: {
      tpSize: 1,
      ppSize: 1,
      parallelEmbedding: false,
      embeddingShardingDim: 0,
      shareEmbedding: false,
      ...parallel,
    },
    workers: 1,
    strict: false,
    hash: false,
    version: "0.0.0-test",
  });
}

interface Stored {
  readonly shape: readonly number[];
  readonly bytes: Buffer;
}

/** A reader of its own, so that a mistake in the product's cannot hide one in its writer. */
function tensorsOf(path: string): Map<string, Stored> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<
    string,
    { shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(([name, { shape, data_offsets: at }]) => [
        name,
        { shape, bytes: file.subarray(8 + length + at[0], 8 + length + at[1]) },
      ]),
  );
}

describe("converting OPT", () => {
  it("refuses a second pipeline stage, which TensorRT-LLM's OPT has not", async () => {
    await expect(converted("opt_pre", { ppSize: 3 })).rejects.toThrow(/CKP053.*OPTForCausalLM has one pipeline stage/);
  });

  it("leaves a table that is a product whole and says so", async () => {
    const { warnings, settings } = await converted("opt_proj", { parallelEmbedding: true, shareEmbedding: true });
    expect(warnings.map(({ code, at }) => `${code} ${at}`).slice(0, 2)).toEqual([
      "CKP058 --use_parallel_embedding",
      "CKP058 --use_embedding_sharing",
    ]);
    expect(settings).toMatchObject({ use_parallel_embedding: false, use_embedding_sharing: false });
    const tensors = tensorsOf(join(dir, "out/rank0.safetensors"));
    expect(tensors.get("transformer.vocab_embedding.weight")?.shape).toEqual([89, 40]);
    expect(tensors.get("lm_head.weight")?.shape).toEqual([89, 40]);
    expect(tensors.has("transformer.ln_f.weight")).toBe(false);
  });
});

describe("converting GPT-2 for two ranks with a split embedding", () => {
  const rows = ({ bytes }: Stored, from: number, to: number, width: number): Buffer =>
    bytes.subarray(from * width * 2, to * width * 2);

  it("splits words and positions alike, filled up with zero rows, and turns the Conv1D weights", async () => {
    await converted("gpt2_usual", { tpSize: 2, parallelEmbedding: true });
    const source = tensorsOf(join(ROOT, "test/fixtures/parity/gpt2_usual/model.safetensors"));
    const second = tensorsOf(join(dir, "out/rank1.safetensors"));
    const get = (from: Map<string, Stored>, name: string): Stored => from.get(name) as Stored;
    for (const [stored, name, count, half] of [
      ["transformer.wte.weight", "transformer.vocab_embedding.weight", 97, 49],
      ["transformer.wpe.weight", "transformer.position_embedding.weight", 61, 31],
      ["transformer.wte.weight", "lm_head.weight", 97, 49],
    ] as const) {
      const part = get(second, name);
      expect(part.shape).toEqual([half, 42]);
      expect(rows(part, 0, half - 1, 42).equals(rows(get(source, stored), half, count, 42))).toBe(true);
      expect(rows(part, half - 1, half, 42).every(byte => byte === 0)).toBe(true);
    }
    // Of the 126 columns q, k and v are 42 each, and rank 1 has the second 21 of each.
    const fused = get(source, "transformer.h.1.attn.c_attn.weight");
    const part = get(second, "transformer.layers.1.attention.qkv.weight");
    expect(part.shape).toEqual([63, 42]);
    for (const [row, column] of [0, 20, 21, 41, 42, 62].map(r => [r, Math.floor(r / 21) * 42 + 21 + (r % 21)] as const))
      for (const input of [0, 19, 41])
        expect(part.bytes.readUInt16LE((row * 42 + input) * 2)).toBe(
          fused.bytes.readUInt16LE((input * 126 + column) * 2),
        );
  });
});
