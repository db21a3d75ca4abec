import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { planBuild } from "../../src/build/plan-build.ts";
import { runPlan } from "../../src/build/run-plan.ts";
import { convert } from "../../src/checkpoint/convert.ts";
import { FilePool } from "../../src/formats/file.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { withDefaults } from "../../src/options/define.ts";
import { type BuildOptions, buildOptions } from "../../src/options/tables/build.ts";
import { f16ToF32 } from "../../src/tensor/index.ts";

/** A model of test/fixtures, whole path. */
export function modelDir(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

/** Converts and builds a Hugging Face directory for ONNX Runtime in a temporary directory. */
export async function buildEngine(
  model: string,
  options: Partial<BuildOptions> = {},
  dtype: "auto" | "float32" | "float16" | "bfloat16" = "auto",
): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "mmtrt-engine-"));
  const checkpoint = join(dir, "checkpoint");
  const origin = (key: string): string => `--${key}`;
  await convert({
    modelDir: model,
    metaDir: undefined,
    outputDir: checkpoint,
    dtype,
    parallel: { tpSize: 1, ppSize: 1, parallelEmbedding: false, embeddingShardingDim: 0, shareEmbedding: false },
    workers: 1,
    strict: false,
    hash: false,
    version: "0.0.0",
    origin,
    onProgress: () => {},
  });
  const limits = { max_batch_size: 3, max_input_len: 80, max_seq_len: 160, max_beam_width: 5 };
  const given = { checkpoint_dir: checkpoint, output_dir: join(dir, "engine"), ...limits, ...options };
  const plan = await planBuild(withDefaults(buildOptions, given), {
    version: "0.0.0",
    origin,
    given: key => key in given,
  });
  for await (const _ of runPlan(plan, new AbortController().signal));
  return join(dir, "engine");
}

export interface ReferenceTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}

/** All tensors of a small safetensors file; float16 is widened. */
export async function readTensors(file: string): Promise<ReadonlyMap<string, ReferenceTensor>> {
  const pool = new FilePool();
  try {
    const { tensors } = await openSafetensors(pool, file);
    const read = new Map<string, ReferenceTensor>();
    for (const { name, dtype, shape, readRows } of tensors.values()) {
      const bytes = await readRows(0, shape[0] ?? 1);
      const { buffer, byteOffset, byteLength } = bytes;
      if (dtype === "float32") read.set(name, { shape, data: new Float32Array(buffer, byteOffset, byteLength / 4) });
      else if (dtype === "int32") read.set(name, { shape, data: new Int32Array(buffer, byteOffset, byteLength / 4) });
      else if (dtype === "float16") {
        const wide = new Float32Array(byteLength / 2);
        f16ToF32(new Uint16Array(buffer, byteOffset, byteLength / 2), wide);
        read.set(name, { shape, data: wide });
      } else throw new Error(`${file}: ${name} is ${dtype}`);
    }
    return read;
  } finally {
    await pool.close();
  }
}
