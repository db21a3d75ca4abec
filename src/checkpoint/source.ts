import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, relative } from "node:path";
import { fail, type Problem } from "../diagnostics/index.ts";
import { type ModelSpec, seesImages } from "../models/spec.ts";
import { byteLength, type FloatDtype, type HfCheckpoint, isFloatDtype } from "../tensor/index.ts";
import { sampleHash } from "./hash.ts";
import type { ConvertSettings, DownloadRecord, SourceFileRecord } from "./manifest.ts";
import { type OpenOptions, openHf, openMeta } from "./open.ts";

/** Errors: CKP055 when not exactly one source is named, CKP001–CKP024 from the files. */
export async function openSource(
  modelDir: string | undefined,
  metaDir: string | undefined,
  options: OpenOptions = {},
): Promise<HfCheckpoint> {
  if (modelDir !== undefined && metaDir === undefined) return openHf(modelDir, options);
  if (metaDir !== undefined && modelDir === undefined) return openMeta(metaDir);
  return fail({
    code: "CKP055",
    what: modelDir === undefined ? "no model is given" : "both MODEL_DIR and --meta_ckpt_dir are given",
    at: "MODEL_DIR, --meta_ckpt_dir",
    why: "a checkpoint is converted from one source",
    fix: "mmtrt convert MODEL_DIR --output_dir DIR, or mmtrt convert --meta_ckpt_dir DIR --output_dir DIR",
  });
}

/** `auto`: the float dtype most bytes of the checkpoint have; float64 and quantized GGUF blocks become what config.json declares, or float16. */
export function resolveDtype(asked: FloatDtype | "auto", source: HfCheckpoint, spec: ModelSpec): FloatDtype {
  if (asked !== "auto") return asked;
  const bytes = new Map<FloatDtype, number>();
  for (const { dtype, shape, range } of source.tensors.values()) {
    if (isFloatDtype(dtype) && (range !== undefined || source.format !== "gguf"))
      bytes.set(dtype, (bytes.get(dtype) ?? 0) + byteLength(dtype, shape));
  }
  const [most] = [...bytes].sort((a, b) => b[1] - a[1]);
  const decoded = source.format === "gguf" && [...source.tensors.values()].some(({ range }) => range === undefined);
  return (decoded ? undefined : most?.[0]) ?? spec.declaredDtype ?? "float16";
}

/**
 * Tells whether an earlier run had the same inputs: settings, config, and of every weight file name, size and time of
 * change. Not their hashes: reading every byte to find out that nothing is to do would cost as much as converting.
 */
export async function fingerprintOf(
  source: HfCheckpoint,
  settings: ConvertSettings,
  { version, hub = [] }: { readonly version: string; readonly hub?: readonly DownloadRecord[] },
): Promise<string> {
  const files = await Promise.all(
    source.weightFiles.map(async file => {
      const { size, mtimeMs } = await stat(file);
      return { name: relative(source.dir, file), size, mtimeMs };
    }),
  );
  const commits = hub.map(({ option, repo, commit }) => [option, repo, commit]);
  const key = { version, settings, config: source.config, files, ...(commits.length > 0 && { commits }) };
  return createHash("sha256").update(JSON.stringify(key)).digest("hex");
}

export async function recordFiles(
  source: HfCheckpoint,
  hashes: ReadonlyMap<string, string> | undefined,
): Promise<SourceFileRecord[]> {
  return Promise.all(
    source.weightFiles.map(async file => ({
      name: relative(source.dir, file),
      size: (await stat(file)).size,
      sample_sha256: await sampleHash(file),
      sha256: hashes?.get(file) ?? null,
    })),
  );
}

const TOKENIZERS = ["tokenizer.json", "tokenizer.model", "vocab.json"];
const PROCESSORS = ["preprocessor_config.json", "processor_config.json"];

/** What `run` will lack; a conversion does not need it. */
export function missingExtras(source: HfCheckpoint, spec: ModelSpec): Problem[] {
  const names = new Set([...source.extraFiles, ...source.generatedFiles.keys()].map(name => basename(name)));
  const lacks = (some: readonly string[]): boolean => !some.some(name => names.has(name));
  const problem = (what: string, why: string, fix: string): Problem => ({
    code: "CKP049",
    what,
    at: source.dir,
    why,
    fix,
  });
  return [
    ...(lacks(TOKENIZERS)
      ? [
          problem(
            "there is no tokenizer beside the weights (tokenizer.json)",
            "without it run takes token ids and not text",
            "copy tokenizer.json and tokenizer_config.json from the model's repository into this directory",
          ),
        ]
      : []),
    ...(seesImages(spec) && lacks(PROCESSORS)
      ? [
          problem(
            "there is no image processor beside the weights (preprocessor_config.json)",
            "without it run takes preprocessed tensors and not images",
            "copy preprocessor_config.json from the model's repository into this directory",
          ),
        ]
      : []),
  ];
}
