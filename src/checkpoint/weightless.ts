import { join } from "node:path";
import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import { encodeHeader, inOrder } from "../formats/safetensors.ts";
import { packedSchemeOf } from "../models/parts/quantization-config.ts";
import { readModel } from "../models/registry.ts";
import type { ModelSpec } from "../models/spec.ts";
import { type FloatDtype, type QuantSpec, type StoredTensor, storedTensors, type TensorType } from "../tensor/index.ts";
import { lmHeadProblems } from "./lm-head-rules.ts";
import {
  ENCODER_DIR,
  languageDir,
  quantizationSettings,
  rankFile,
  splitSettings,
  VISUAL_DIR,
  VISUAL_WEIGHTS,
} from "./manifest.ts";
import { expectedEncoderTensors, expectedTensors } from "./map.ts";
import { dealtOut, type Origin } from "./parallel-rules.ts";
import { NO_QUANTIZATION, type QuantizationOptions, quantSpec } from "./quantization-options.ts";
import { quantizationProblems } from "./quantization-rules.ts";
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
  /** Absent: weights in `dtype`. Nothing is measured: how large codes and scales are follows from the options alone. */
  readonly quantization?: QuantizationOptions;
  /** Version of mmtrt, for the manifest. */
  readonly version: string;
  readonly origin: Origin;
}

/**
 * The checkpoint that `convert` would write, known from config.json alone: names, shapes and offsets in files that do not
 * exist. Plans are made from it as from a real one, and graphs come out byte for byte the same; nothing can be built.
 * Errors: SPC… of the config, CKP052–CKP054 when the model cannot be dealt out as asked, CKP080–CKP086 not quantized.
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
  const plain = expectedTensors(spec, weights, parallel, dtype);
  const quantization = checkedQuantization(request, spec, parallel, plain);
  const late = /^W[48]A16/.test(quantization?.quantAlgo ?? "") ? SCALES : undefined;
  const files = (folder: string, ranks: readonly (readonly TensorType[])[]): WeightFile[] =>
    ranks.map((tensors, rank) => weightFile(join(dir, folder, rankFile(rank)), tensors, late));
  const layout = { ...parallel, dtype, fromMeta: false, ...(quantization && { quantization }) };
  const encoderRanks = files(ENCODER_DIR, expectedEncoderTensors(spec, weights, parallel, dtype));
  const encoderConfig = architecture.encoderConfig?.(spec, layout);
  const images = weights.visual.map(source => ({ ...source, dtype }));
  const checkpoint: ConvertedCheckpoint = {
    dir,
    architecture,
    spec,
    config: architecture.checkpointConfig(spec, layout),
    parallel,
    ...(quantization && { quantization }),
    ranks: files(
      languageDir(spec),
      plain.map(tensors => storedTensors(quantization, tensors, dtype)),
    ),
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
      options: { ...splitSettings(dtype, parallel), ...quantizationSettings(quantization) },
      files: [],
      coverage: { used: 0, ignored: [] },
      non_finite: [],
      warnings: [],
    },
    changed: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
  const isPlain = quantization === undefined || quantization.quantAlgo === null;
  const quantized = packedSchemeOf(request.config) === undefined || !isPlain ? [] : [plannedInFloat(dir)];
  return { checkpoint, warnings: [...model.warnings, ...warnings, ...quantized] };
}

/** What `convert` would refuse of these options is refused here. */
function checkedQuantization(
  { quantization: options = NO_QUANTIZATION, origin }: WeightlessRequest,
  spec: ModelSpec,
  parallel: Parallel,
  ranks: readonly (readonly TensorType[])[],
): QuantSpec | undefined {
  const quant = quantSpec(options);
  throwIfAny([
    ...lmHeadProblems(options, parallel, false, origin),
    ...quantizationProblems(options, quant, spec, ranks, origin),
  ]);
  return quant;
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

/** Scales; those of weight-only codes are made beside the codes, and written after them. */
const SCALES = /\.(weights_scaling_factor|per_channel_scale)$/;
const NONE = /$^/;

/** As `writeSafetensors` would lay the file out. */
function weightFile(file: string, tensors: readonly TensorType[], late: RegExp = NONE): WeightFile {
  const placed = tensors.map(tensor => ({ ...tensor, late: late.test(tensor.name) }));
  const stored = [...encodeHeader(inOrder(placed)).entries.values()].map(({ name, dtype, shape, offset, length }) => {
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
