import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { History } from "../../../src/build/matrix/history.ts";
import { openHf } from "../../../src/checkpoint/open.ts";
import { withPackedFile } from "../../../src/checkpoint/packed-file.ts";
import { NO_QUANTIZATION } from "../../../src/checkpoint/quantization-options.ts";
import { tensorrtHeaders } from "../../../src/cli/plugins/headers.ts";
import { FilePool } from "../../../src/formats/file.ts";
import { loadAdapter } from "../../../src/formats/lora/load.ts";
import { isMeasured } from "../../../src/quantize/calibrate.ts";
import { readProfile } from "../../../src/runtime/profile-compare.ts";
import { encodeFrame, FrameParser } from "../../../src/toolchain/runner/frames.ts";
import { problemsOf } from "../../../src/toolchain/runner/process.ts";
import { copied, directory, fixture, parity, type Reader, written } from "./reader.ts";

const FRAMES = Buffer.concat(
  [
    { kind: "ready", protocol: 1, device: "cuda" },
    { kind: "token", request: 7, tokens: [1, 29, 32000] },
    { kind: "problem", problems: [{ code: "RUN050", what: "a", at: "b", why: "c", fix: "d" }] },
  ].flatMap(header => encodeFrame(header)),
);
const PROFILE = JSON.stringify({
  event: "result",
  profile: { prefill_ms: { p50: 3, p90: 4 }, decode_ms: { p50: 1, p90: 2 }, request: { batch_size: 1 } },
});
const KEYS = { key: "a".repeat(64), inputs: { "given.dtype": true, options: { dtype: "float16" } } };
const HEADER = [10, 16, 0, 72].map(
  (n, i) => `#define NV_TENSORRT_${["MAJOR", "MINOR", "PATCH", "BUILD"][i]} ${n} //!<`,
);

/** A model's directory with one file more or another one, which is damaged. */
function beside(name: string, source: string, target: string, read: Reader["read"]): Reader {
  return {
    name,
    form: "json",
    prepare: async dir => {
      await cp(source, dir, { recursive: true });
      return target;
    },
    read,
  };
}

async function opened(dir: string, options = {}): Promise<void> {
  await (await openHf(dir, options)).close();
}

export const PROGRAM_READERS: readonly Reader[] = [
  {
    name: "what the runner sends",
    form: "bytes",
    prepare: written("frames", FRAMES),
    read: async dir => {
      const bytes = await readFile(join(dir, "frames"));
      const parser = new FrameParser();
      const half = Math.floor(bytes.length / 2);
      const headers = [...parser.push(bytes.subarray(0, half)), ...parser.push(bytes.subarray(half))];
      return headers.flatMap(header => problemsOf(header));
    },
  },
  {
    name: "profile to compare with",
    form: "json",
    prepare: written("profile.json", PROFILE),
    read: dir => readProfile(join(dir, "profile.json")),
  },
  {
    name: "history of a matrix",
    form: "json",
    prepare: async (dir, shared) => {
      const seen: string[] = [];
      // The name follows from the matrix file's; a cache that is not there says which one is asked for.
      const { fingerprint } = await import("../../../src/build/fingerprint.ts");
      const target = join("runs", `${fingerprint("matrix.yaml").slice(0, 16)}.json`);
      seen.push(target);
      await mkdir(dirname(join(dir, target)), { recursive: true });
      return written(target, JSON.stringify({ format: 1, cells: { a: { convert: KEYS } } }))(dir, shared);
    },
    read: async dir => {
      const history = await History.load({ dir } as never, "matrix.yaml");
      for (const cell of ["a", "b", "__proto__", "constructor"])
        history.reason(cell, "convert", { ...KEYS, key: "b".repeat(64) } as never);
    },
  },
  {
    name: "header of TensorRT",
    form: "text",
    prepare: async (dir, shared) => {
      await mkdir(join(dir, "include"));
      return written("include/NvInferVersion.h", HEADER.join("\n"))(dir, shared);
    },
    read: dir => tensorrtHeaders(dir, "--tensorrt_root"),
  },
  ...(["adapter_config.json", "adapter_model.safetensors"] as const).map(
    (target): Reader => ({
      name: `${target} of an engine`,
      form: target.endsWith(".json") ? "json" : "safetensors",
      prepare: directory(async () => fixture("lora/llama_gqa/first"), target),
      read: async dir => {
        const pool = new FilePool();
        try {
          await loadAdapter(pool, dir, { modules: [], layers: 3 } as never, { maxRank: 64 } as never);
        } finally {
          await pool.close();
        }
      },
    }),
  ),
  {
    name: "calibration to go on with",
    form: "safetensors",
    prepare: copied(fixture("quantize/llava-shapes.safetensors")),
    read: dir => isMeasured(join(dir, "llava-shapes.safetensors"), "key"),
  },
  {
    name: "file of --quant_ckpt_path",
    form: "safetensors",
    prepare: copied(fixture("formats/dtypes.safetensors")),
    read: async dir => {
      const options = {
        ...NO_QUANTIZATION,
        use_weight_only: true,
        weight_only_precision: "int4_gptq" as const,
        quant_ckpt_path: join(dir, "dtypes.safetensors"),
      };
      await (await withPackedFile(await openHf(parity("llama_gqa")), options as never)).close();
    },
  },
  beside("config.json of a language model in the place of LLaVA's own", parity("llama_gqa"), "config.json", dir =>
    opened(parity("llava_mqa"), { llmDir: dir }),
  ),
  beside("config.json of a vision tower elsewhere", parity("llava_mqa"), "config.json", dir =>
    opened(parity("llava_original"), { visionTowerDir: dir }),
  ),
  {
    name: "quantize_config.json beside the weights",
    form: "json",
    prepare: async dir => {
      await cp(parity("llama_gqa"), dir, { recursive: true });
      const config = { bits: 4, group_size: 128, desc_act: false, sym: true };
      await writeFile(join(dir, "quantize_config.json"), JSON.stringify(config));
      return "quantize_config.json";
    },
    read: dir => opened(dir),
  },
];
