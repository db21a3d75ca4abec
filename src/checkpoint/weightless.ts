import { join } from "node:path";
import type { Problem } from "../diagnostics/index.ts";
import { encodeHeader } from "../formats/safetensors.ts";
import { packedSchemeOf } from "../models/parts/quantization-config.ts";
import { readModel } from "../models/registry.ts";
import { DTYPES, type FloatDtype, type StoredTensor, type TensorRecipe } from "../tensor/index.ts";
import { ENCODER_DIR, languageDir, rankFile, splitSettings, VISUAL_DIR, VISUAL_WEIGHTS } from "./manifest.ts";
import { expectedEncoderTensors, expectedTensors } from "./map.ts";
import { dealtOut, type Origin } from "./parallel-rules.ts";
import type { ConvertedCheckpoint, WeightFile } from "./read.ts";
import type { Parallel } from "./shard.ts";
import { visualConfig } from "./visual-config.ts";

export interface WeightlessRequest {
  /** A Hugging Face config.json; of a model in several directories with the others' as `…_cfg`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What the model is called in messages. */
  readonly name: string;
  /** auto: what config.json declares, or float16. */
  readonly dtype: FloatDtype | "auto";
  readonly parallel: Parallel;
  /** Version of mmtrt, for the manifest. */
  readonly version: string;
  readonly origin: Origin;
}

/**
 * The checkpoint that `convert` would write, known from config.json alone: names, shapes and offsets in files that do not
 * exist. Plans are made from it as from a real one, and graphs come out byte for byte the same; nothing can be built.
 * Errors: SPC… of the config, CKP052–CKP054 when the model cannot be dealt out as asked.
 */
export function weightlessCheckpoint(request: WeightlessRequest): {
  readonly checkpoint: ConvertedCheckpoint;
  readonly warnings: readonly Problem[];
} {
  const model = readModel(request.config);
  const { architecture, spec } = model;
  const { parallel, warnings } = dealtOut(model, request.parallel, request.origin);
  const dtype = request.dtype === "auto" ? (spec.declaredDtype ?? "float16") : request.dtype;
  const weights = architecture.weights(spec);
  const { name: dir } = request;
  const files = (folder: string, ranks: readonly TensorRecipe[][]): WeightFile[] =>
    ranks.map((tensors, rank) => weightFile(join(dir, folder, rankFile(rank)), tensors));
  const layout = { ...parallel, dtype, fromMeta: false };
  const encoderRanks = files(ENCODER_DIR, expectedEncoderTensors(spec, weights, parallel, dtype));
  const encoderConfig = architecture.encoderConfig?.(spec, layout);
  const images = weights.visual.map(source => ({ ...source, dtype }));
  const checkpoint: ConvertedCheckpoint = {
    dir,
    architecture,
    spec,
    config: architecture.checkpointConfig(spec, layout),
    parallel,
    ranks: files(languageDir(spec), expectedTensors(spec, weights, parallel, dtype)),
    ...(encoderRanks.length > 0 && encoderConfig && { encoder: { ranks: encoderRanks, config: encoderConfig } }),
    ...(images.length > 0 && {
      visual: { ...weightFile(join(dir, VISUAL_DIR, VISUAL_WEIGHTS), images), config: visualConfig(spec, dtype) },
    }),
    manifest: {
      kind: "checkpoint",
      format: 1,
      version: request.version,
      fingerprint: "",
      architecture: spec.architecture,
      source: { format: "safetensors", files: [] },
      options: splitSettings(dtype, parallel),
      files: [],
      coverage: { used: 0, ignored: [] },
      non_finite: [],
      warnings: [],
    },
    close: () => Promise.resolve(),
  };
  const quantized = packedSchemeOf(request.config) === undefined ? [] : [plannedInFloat(dir)];
  return { checkpoint, warnings: [...model.warnings, ...warnings, ...quantized] };
}

/** Zero points and layers that were left out are known from the weights alone. */
function plannedInFloat(name: string): Problem {
  return {
    code: "CKP094",
    what: `${name} is quantized, and is planned as if its weights were float`,
    at: "config.json: quantization_config",
    why: "the form that its weights will have is found when they are read",
    fix: "convert it: mmtrt build --checkpoint_dir CHECKPOINT --plan then has its own sizes",
  };
}

/** As `writeSafetensors` would lay the file out. */
function weightFile(file: string, tensors: readonly Pick<TensorRecipe, "name" | "dtype" | "shape">[]): WeightFile {
  const ordered = [...tensors].sort((a, b) => DTYPES[b.dtype].bits - DTYPES[a.dtype].bits);
  const stored = [...encodeHeader(ordered).entries.values()].map(({ name, dtype, shape, offset, length }) => {
    const tensor: StoredTensor = {
      name,
      dtype,
      shape,
      at: `${file} (planned)`,
      range: { file, offset, length },
      readRows: () => Promise.reject(new Error(`${name} of ${file} is planned, and has no bytes`)),
    };
    return [name, tensor] as const;
  });
  return { file, tensors: new Map(stored) };
}
