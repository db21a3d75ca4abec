import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convert } from "../../src/checkpoint/convert.ts";
import { NO_QUANTIZATION } from "../../src/checkpoint/quantization-options.ts";
import { openCheckpoint } from "../../src/checkpoint/read.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";

/** Reference conversions by NVIDIA's own converters; `shared/` lies beside the checkout where it is given at all. */
const goldens = fileURLToPath(new URL("../../../shared/goldens/", import.meta.url));
const present = existsSync(join(goldens, "out"));

interface Case {
  readonly case: string;
  readonly args: readonly string[];
}

/** Decoder-only families as NVIDIA's v0.10 converts them, encoder-decoders as v0.11 does; plain and quantized. */
function cases(): Case[] {
  if (!present) return [];
  return readdirSync(join(goldens, "out"))
    .filter(
      name =>
        /^(llama|llava|opt|gpt2|qwen2|(t5|bart|mbart|nougat).*@v0\.11)/.test(name) &&
        existsSync(join(goldens, "out", name, "case.json")),
    )
    .map(name => ({
      ...(JSON.parse(readFileSync(join(goldens, "out", name, "case.json"), "utf8")) as Case),
      case: name,
    }));
}

/** Derived tables that TensorRT-LLM recomputes when they are absent. */
const DERIVED = /embed_positions|rotary_inv_freq/;

describe.skipIf(!present)(
  `goldens of TensorRT-LLM${present ? "" : " (skipped: there is no shared/goldens beside the checkout)"}`,
  () => {
    let dir: string;
    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "mmtrt-goldens-"));
    });
    afterAll(() => rm(dir, { recursive: true, force: true }));

    it("are there to compare with", () => {
      expect(cases().length).toBeGreaterThan(0);
    });

    it.each(cases())("$case: every tensor bit for bit, every config key", async golden => {
      const output = join(dir, golden.case);
      const result = await convert({ ...request(golden), outputDir: output });
      expect(result.status).toBe("converted");
      const reference = join(goldens, "out", golden.case);
      const files = rankFiles(reference);
      expect(rankFiles(output)).toEqual(files);
      for (const file of files) {
        const [want, got] = [readPlain(join(reference, file)), readPlain(join(output, file))];
        expect([...got.keys()].sort()).toEqual([...want.keys()].sort());
        for (const [name, tensor] of want) {
          expect({ name, ...got.get(name)?.about }).toEqual({ name, ...tensor.about });
          expect(got.get(name)?.bytes.equals(tensor.bytes), `${file}: ${name}`).toBe(true);
        }
      }
      for (const part of new Set(files.map(file => dirname(file)))) {
        const config = (at: string): unknown => JSON.parse(readFileSync(join(at, part, "config.json"), "utf8"));
        expect(config(output)).toEqual(config(reference));
      }
      const checkpoint = await openCheckpoint(output);
      expect(checkpoint.ranks.length + (checkpoint.encoder?.ranks.length ?? 0)).toBe(files.length);
      await checkpoint.close();
    });
  },
);

/** `rank0.safetensors`, or `decoder/rank0.safetensors` of an encoder-decoder. */
function rankFiles(dir: string): string[] {
  return ["", "decoder", "encoder"].flatMap(part => {
    const names = existsSync(join(dir, part)) ? readdirSync(join(dir, part)) : [];
    return names.filter(name => /^rank\d+\.safetensors$/.test(name)).map(name => join(part, name));
  });
}

function request({ args, case: name }: Case): Omit<Parameters<typeof convert>[0], "outputDir"> {
  const value = (flag: string): string | undefined => (args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined);
  const source = (flag: string): string | undefined => value(flag)?.replace("$HF", join(goldens, "hf"));
  return {
    modelDir: source("--model_dir"),
    metaDir: source("--meta_ckpt_dir"),
    dtype: (value("--dtype") ?? "float16") as FloatDtype,
    parallel: {
      tpSize: Number(value("--tp_size") ?? 1),
      ppSize: Number(value("--pp_size") ?? 1),
      parallelEmbedding: args.includes("--use_parallel_embedding"),
      embeddingShardingDim: value("--embedding_sharding_dim") === "1" ? 1 : 0,
      shareEmbedding: args.includes("--use_embedding_sharing"),
    },
    quantization: {
      ...NO_QUANTIZATION,
      use_weight_only: args.includes("--use_weight_only"),
      weight_only_precision: (value("--weight_only_precision") ?? "int8") as "int8" | "int4" | "int4_gptq",
      per_group: args.includes("--per_group"),
      group_size: value("--group_size") === undefined ? undefined : Number(value("--group_size")),
      quant_ckpt_path: source("--modelopt_quant_ckpt_path"),
      // NVIDIA's converter permutes for the GPU it runs on; the goldens are for 8.0.
      weight_layout: args.includes("--use_weight_only") ? "sm80" : "plain",
      smoothquant: args.includes("--smoothquant") ? Number(value("--smoothquant")) : undefined,
      per_token: args.includes("--per_token"),
      per_channel: args.includes("--per_channel"),
      int8_kv_cache: args.includes("--int8_kv_cache"),
      act_ranges: args.some(arg => /smoothquant|int8_kv/.test(arg))
        ? join(goldens, "out", name, "act_range.safetensors")
        : undefined,
    },
    workers: 2,
    strict: false,
    hash: basename(goldens) === "goldens",
    version: "0.0.0-test",
  };
}

/** A reader of its own, so that a mistake in the product's reader cannot hide one in its writer. */
function readPlain(path: string): Map<string, { about: object; bytes: Buffer }> {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = Object.entries(header).filter(([name]) => name !== "__metadata__" && !DERIVED.test(name));
  return new Map(
    tensors.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [start, end],
        },
      ]) => [name, { about: { dtype, shape }, bytes: file.subarray(8 + length + start, 8 + length + end) }],
    ),
  );
}
