import { join } from "node:path";
import { MmtrtError, type Problem, throwIfAny } from "../diagnostics/index.ts";
import { type KnownModel, readModel } from "../models/registry.ts";
import {
  byteLength,
  type FloatDtype,
  fromStored,
  type HfCheckpoint,
  type QuantSpec,
  recipeBytes,
  type TensorRecipe,
} from "../tensor/index.ts";
import { lmHeadProblems } from "./lm-head-rules.ts";
import {
  CONFIG_FILE,
  type ConvertSettings,
  type DownloadRecord,
  ENCODER_DIR,
  languageDir,
  quantizationSettings,
  rankFile,
  splitSettings,
  VISUAL_DIR,
  VISUAL_WEIGHTS,
} from "./manifest.ts";
import { expectedTensors, type Mapping, mapWeights } from "./map.ts";
import { openPacked } from "./packed.ts";
import { dealtOut, type Origin } from "./parallel-rules.ts";
import { planQuantization } from "./quantization.ts";
import { NO_QUANTIZATION, type QuantizationOptions } from "./quantization-options.ts";
import type { Parallel } from "./shard.ts";
import { fingerprintOf, missingExtras, resolveDtype } from "./source.ts";

export interface ConvertRequest {
  /** Hugging Face directory or GGUF file; exactly one of the two sources is given. */
  readonly modelDir?: string | undefined;
  /** Meta's consolidated.NN.pth and params.json. */
  readonly metaDir?: string | undefined;
  /** Where the vision tower is that LLaVA's own checkpoints name and do not store. */
  readonly visionTowerDir?: string | undefined;
  /** Directory of a language model that takes the place of BLIP-2's or LLaVA's own. */
  readonly llmDir?: string | undefined;
  /** Which of these were downloaded, for the manifest. */
  readonly hub?: readonly DownloadRecord[];
  readonly outputDir: string;
  readonly dtype: FloatDtype | "auto";
  readonly parallel: Parallel;
  /** Absent: weights are written in `dtype`. */
  readonly quantization?: QuantizationOptions;
  /** Measures the activations that `quantization` needs and gives the file of ranges; called when all else is in order. */
  readonly measure?: (request: ConvertRequest, quant: QuantSpec) => Promise<string>;
  /** Files written at the same time. */
  readonly workers: number;
  /** Warnings about NaN weights and missing tokenizer files are errors. */
  readonly strict: boolean;
  /** SHA-256 of every source file into mmtrt.json. */
  readonly hash: boolean;
  /** Version of mmtrt, for the manifest. */
  readonly version: string;
  readonly origin?: Origin;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: ConvertProgress) => void;
}

export interface ConvertProgress {
  readonly event: "progress";
  readonly id: "convert";
  readonly label: string;
  readonly done: number;
  readonly total: number;
  readonly unit: "B";
}

/** One weight file to be written. */
export interface Job {
  readonly file: string;
  readonly recipes: readonly TensorRecipe[];
}

/** Everything known before the first byte is written. */
export interface Plan {
  readonly source: HfCheckpoint;
  readonly model: KnownModel;
  readonly settings: ConvertSettings;
  /** As asked, less what the model cannot have. */
  readonly parallel: Parallel;
  readonly mapping: Mapping;
  readonly quantization: QuantSpec | undefined;
  readonly jobs: readonly Job[];
  /** The same jobs by what is written side by side: the ranks of one pipeline stage share their sources. */
  readonly groups: readonly (readonly Job[])[];
  readonly fingerprint: string;
  readonly warnings: readonly Problem[];
}

/** Reads headers only. Errors: SPC… of config.json, CKP040–CKP045, CKP049 with --strict, CKP052–CKP054, CKP080–CKP094. */
export async function planConversion(source: HfCheckpoint, request: ConvertRequest): Promise<Plan> {
  const model = readModel(source.config, source.format === "meta" ? "params.json" : CONFIG_FILE);
  const dtype = resolveDtype(request.dtype, source, model.spec);
  const origin = request.origin ?? (key => `--${key}`);
  const { parallel, warnings: dropped } = dealtOut(model, request.parallel, origin);
  const weights = model.architecture.weights(model.spec);
  const packed = await openPacked(source, model.spec, weights, parallel);
  throwIfAny(lmHeadProblems(request.quantization ?? NO_QUANTIZATION, parallel, packed !== undefined, origin));
  const { quantizer, rangesSha256, notes, problems } = await planQuantization(
    request.quantization ?? NO_QUANTIZATION,
    model.spec,
    weights,
    expectedTensors(model.spec, weights, parallel, dtype),
    origin,
    quant => request.measure?.(request, quant) ?? notMeasured(origin),
    packed,
  );
  throwIfAny(problems);
  const quantization = quantizer?.spec;
  const mapping = mapWeights(packed?.tensors ?? source.tensors, model.spec, weights, parallel, dtype, quantizer);
  await compareCopies(mapping);
  await checkZeros(mapping);
  const extras = missingExtras(source, model.spec);
  if (request.strict) throwIfAny(extras);
  const settings: ConvertSettings = {
    ...splitSettings(dtype, parallel),
    ...quantizationSettings(quantization, rangesSha256),
  };
  const groups = groupsOf(mapping, languageDir(model.spec), parallel.tpSize);
  return {
    source,
    model,
    settings,
    parallel,
    mapping,
    quantization,
    jobs: groups.flat(),
    groups,
    fingerprint: await fingerprintOf(source, settings, request),
    warnings: [...source.warnings, ...model.warnings, ...dropped, ...extras, ...notes],
  };
}

function notMeasured(origin: Origin): never {
  throw new MmtrtError([
    {
      code: "CKP088",
      what: "the format needs ranges of activations, and nothing measures them here",
      at: origin("act_ranges"),
      why: "scales of activations and of cached keys and values come from running the model over texts",
      fix: "give ranges with act_ranges; mmtrt convert on the command line measures them by itself",
    },
  ]);
}

/** The files by group: the vision tower's, then each stage's of the encoder and of the language model. */
function groupsOf({ visual, encoderRanks, ranks }: Mapping, language: string, tpSize: number): Job[][] {
  const stages = (dir: string, all: Mapping["ranks"]): Job[][] => {
    const jobs = all.map((recipes, rank): Job => ({ file: join(dir, rankFile(rank)), recipes }));
    return Array.from({ length: jobs.length / tpSize }, (_, stage) => jobs.slice(stage * tpSize, (stage + 1) * tpSize));
  };
  const tower: Job[][] = visual.length > 0 ? [[{ file: join(VISUAL_DIR, VISUAL_WEIGHTS), recipes: visual }]] : [];
  return [...tower, ...stages(ENCODER_DIR, encoderRanks), ...stages(language, ranks)];
}

/** A tensor that the checkpoint's layout has no place for must add nothing. */
async function checkZeros({ zeros }: Mapping): Promise<void> {
  for (const tensor of zeros) {
    for await (const bytes of recipeBytes(fromStored(tensor))) {
      if (bytes.every(byte => byte === 0)) continue;
      throw new MmtrtError([
        {
          code: "CKP062",
          what: `${tensor.name} is not all zeros`,
          at: `${tensor.name} in ${tensor.at}`,
          why: "it is added to the model's output, and TensorRT-LLM's checkpoint has no place for it",
          fix: `fold ${tensor.name} into the model, or convert a checkpoint that was saved without it`,
        },
      ]);
    }
  }
}

/** A tied lm_head that is stored as well must be the embedding table, byte for byte. */
async function compareCopies({ copies }: Mapping): Promise<void> {
  for (const { copy, original } of copies) {
    const [a, b] = [recipeBytes(fromStored(copy)), recipeBytes(fromStored(original))];
    let same = copy.dtype === original.dtype && copy.shape.join() === original.shape.join();
    while (same) {
      const [x, y] = await Promise.all([a.next(), b.next()]);
      if (x.done || y.done) break;
      same = Buffer.compare(x.value, y.value) === 0;
    }
    if (!same) {
      throw new MmtrtError([
        {
          code: "CKP045",
          what: `${copy.name} is stored with other values than ${original.name}, though config.json ties them`,
          at: `${copy.name} in ${copy.at}`,
          why: "transformers 4 would use the embedding table as lm_head, transformers 5 the stored tensor",
          fix: `set "tie_word_embeddings": false if lm_head was trained, or remove ${copy.name}`,
        },
      ]);
    }
  }
}

export function bytesOf({ recipes }: Job): number {
  return recipes.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
}
