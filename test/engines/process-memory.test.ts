import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { planBuild } from "../../src/build/plan-build.ts";
import { publishedModels } from "../../src/checkpoint/published.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "../../src/checkpoint/quantization-options.ts";
import { synth } from "../../src/checkpoint/synth.ts";
import { reduced, withLanguageSizes } from "../../src/checkpoint/synth-sizes.ts";
import { withDefaults } from "../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../src/options/tables/build.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { ROOT } from "../support/sources.ts";

const MIB = 1024 ** 2;
const CHILD = join(ROOT, "test/support/session-peak.ts");
const LIMIT = 0.25;
const work = new Workspace();
afterAll(() => work.clean());

const models = new Map<string, Promise<string>>();

/** A published model with fewer layers: enough weights to tell from what the library takes. */
function synthetic(name: string, layers: number): Promise<string> {
  const known = models.get(name);
  if (known !== undefined) return known;
  const made = (async () => {
    const outputDir = join(await work.dir(), "model");
    const found = (await publishedModels()).find(model => model.name === name)?.config ?? {};
    const config = withLanguageSizes(reduced(found, { layers, shrink: 2 }), {}, key => key);
    await synth({ config, dtype: "float32", seed: 19, maxShardSize: 1e9, outputDir });
    return outputDir;
  })();
  models.set(name, made);
  return made;
}

const shapes = async (): Promise<string> => join(ROOT, "test/fixtures/models/llava-shapes");
const llama = (): Promise<string> => synthetic("llama-1.1b", 2);
const INT8 = { use_weight_only: true } as const;
const INT4 = { use_weight_only: true, weight_only_precision: "int4" } as const;
const SHORT = { max_batch_size: 1, max_input_len: 19, max_seq_len: 40 };
const SIGHT = { max_batch_size: 4, max_input_len: 120, max_seq_len: 160 };

interface Case {
  readonly what: string;
  readonly model: () => Promise<string>;
  readonly dtype: FloatDtype;
  readonly codes?: Partial<QuantizationOptions>;
  readonly limits?: Partial<BuildOptions>;
  readonly split?: readonly [tp: number, pp: number];
}

const LONG = { max_batch_size: 2, max_input_len: 512, max_seq_len: 989, kv_cache_type: "static" } as const;
const CASES: readonly Case[] = [
  { what: "the small LLaVA", model: shapes, dtype: "float32", limits: SIGHT },
  { what: "its 2 × 2 ranks in one process", model: shapes, dtype: "float32", limits: SIGHT, split: [2, 2] },
  { what: "two narrow layers of LLaMA in float32", model: llama, dtype: "float32" },
  { what: "the same in float16, widened", model: llama, dtype: "float16" },
  { what: "the same in bfloat16, widened by the graph", model: llama, dtype: "bfloat16" },
  { what: "the same in INT8", model: llama, dtype: "float16", codes: INT8 },
  { what: "the same in INT4", model: llama, dtype: "float16", codes: INT4 },
  { what: "the same in INT4 groups", model: llama, dtype: "float16", codes: { ...INT4, group_size: 64 } },
  { what: "the same with long prompts", model: llama, dtype: "float32", limits: LONG },
  { what: "two narrow layers of GPT-2", model: () => synthetic("gpt2", 2), dtype: "float32" },
];

// VmHWM is Linux's.
describe.skipIf(!existsSync("/proc/self/status"))(
  "the predicted memory of a process that runs engines in ONNX Runtime",
  () => {
    it.each(CASES)(
      "is within a quarter of what it took: $what",
      async ({ model, dtype, codes, limits = SHORT, split: [tpSize, ppSize] = [1, 1] }) => {
        const parallel = {
          tpSize,
          ppSize,
          parallelEmbedding: false,
          embeddingShardingDim: 0,
          shareEmbedding: false,
        } as const;
        const given = { quantization: { ...NO_QUANTIZATION, ...codes }, parallel };
        const checkpoint_dir = await convertTo(work, await model(), dtype, given);
        const output_dir = await buildTo(work, checkpoint_dir, limits);
        const options = withDefaults(buildOptions, { checkpoint_dir, output_dir: `${output_dir}-2`, ...limits });
        const { process_memory: memory } = await planBuild(options, {
          version: "0",
          origin: key => `--${key}`,
          given: key => key in limits,
        });
        expect(memory?.ranks).toHaveLength(tpSize * ppSize);
        const predicted = (memory?.peak ?? 0) / MIB;
        // Of `ru_maxrss` a child would keep its parent's; the kernel's own mark is of the process alone.
        const peak = Number(
          execFileSync(process.execPath, ["--import", "tsx", CHILD, output_dir], { encoding: "utf8" }),
        );
        expect(peak).toBeGreaterThan(60);
        expect(Math.abs(predicted / peak - 1), `predicted ${Math.round(predicted)} MiB, took ${peak}`).toBeLessThan(
          LIMIT,
        );
      },
      120_000,
    );
  },
);
