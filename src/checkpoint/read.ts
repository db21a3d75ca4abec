import { join } from "node:path";
import { fail, MmtrtError, type Problem, throwIfAny } from "../diagnostics/index.ts";
import { FilePool } from "../formats/file.ts";
import { isJsonObject, type Json, type JsonObject, readJsonObject } from "../formats/json.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { Architecture, CheckpointConfig } from "../models/architecture.ts";
import { readModel } from "../models/registry.ts";
import type { ModelSpec } from "../models/spec.ts";
import { readQuantSpec } from "../quantize/spec.ts";
import {
  isFloatDtype,
  type QuantSpec,
  type Shape,
  type StoredTensor,
  sameShape,
  showShape,
  storedTensors,
} from "../tensor/index.ts";
import {
  type CheckpointManifest,
  CONFIG_FILE,
  ENCODER_DIR,
  HF_CONFIG_FILE,
  languageDir,
  MANIFEST_FILE,
  rankFile,
  VISUAL_DIR,
  VISUAL_WEIGHTS,
} from "./manifest.ts";
import { expectedEncoderTensors, expectedTensors } from "./map.ts";
import type { Parallel } from "./shard.ts";

/** One weight file by its header; every tensor has `range` (file, offset, length), which external data can point at. */
export interface WeightFile {
  readonly file: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** A directory that `convert` wrote: headers read and checked against the model, no tensor bytes. */
export interface ConvertedCheckpoint {
  readonly dir: string;
  readonly architecture: Architecture;
  readonly spec: ModelSpec;
  readonly config: CheckpointConfig;
  readonly parallel: Parallel;
  /** Absent when every tensor is in the float dtype. */
  readonly quantization?: QuantSpec;
  /** By rank: pp_rank · tp_size + tp_rank. Of an encoder-decoder the decoder's, as `config` is. */
  readonly ranks: readonly WeightFile[];
  readonly encoder?: { readonly ranks: readonly WeightFile[]; readonly config: CheckpointConfig };
  readonly visual?: WeightFile & { readonly config: Readonly<Record<string, unknown>> };
  readonly manifest: CheckpointManifest;
  /** CKP065 for each weight file that is another than the one that was opened. */
  changed(): Promise<readonly Problem[]>;
  close(): Promise<void>;
}

/** Errors: CKP050 not a converted checkpoint, CKP051 a weight file does not fit, CKP001–CKP010 for each file, SPC… for hf_config.json. */
export async function openCheckpoint(dir: string): Promise<ConvertedCheckpoint> {
  const manifest = await readManifest(dir);
  const { architecture, spec } = readModel(await readJsonObject(join(dir, HF_CONFIG_FILE)), HF_CONFIG_FILE);
  const configIn = async (part: string): Promise<JsonObject & CheckpointConfig> =>
    (await readJsonObject(join(dir, part, CONFIG_FILE))) as JsonObject & CheckpointConfig;
  const config = await configIn(languageDir(spec));
  const parallel = parallelOf(manifest);
  const pool = new FilePool();
  try {
    const weights = architecture.weights(spec);
    const dtype = manifest.options.dtype;
    const problems: Problem[] = [];
    const ranks: WeightFile[] = [];
    const quantization = quantizationOf(dir, config, manifest);
    for (const [rank, plain] of expectedTensors(spec, weights, parallel, dtype).entries()) {
      const expected = storedTensors(quantization, plain, dtype);
      const file = join(languageDir(spec), rankFile(rank));
      ranks.push(await openWeights(pool, dir, file, expected, manifest, problems));
    }
    const encoderRanks: WeightFile[] = [];
    for (const [rank, expected] of expectedEncoderTensors(spec, weights, parallel, dtype).entries()) {
      const file = join(ENCODER_DIR, rankFile(rank));
      encoderRanks.push(await openWeights(pool, dir, file, expected, manifest, problems));
    }
    const encoder =
      encoderRanks.length === 0 ? undefined : { ranks: encoderRanks, config: await configIn(ENCODER_DIR) };
    const visualFile = join(VISUAL_DIR, VISUAL_WEIGHTS);
    const visual =
      weights.visual.length === 0
        ? undefined
        : {
            ...(await openWeights(
              pool,
              dir,
              visualFile,
              weights.visual.map(source => ({ ...source, dtype })),
              manifest,
              problems,
            )),
            config: await readJsonObject(join(dir, VISUAL_DIR, CONFIG_FILE)),
          };
    throwIfAny(problems);
    return {
      dir,
      architecture,
      spec,
      config,
      parallel,
      ...(quantization && { quantization }),
      ranks,
      ...(encoder && { encoder }),
      ...(visual && { visual }),
      manifest,
      changed: () => pool.changed(),
      close: () => pool.close(),
    };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

/** What config.json and mmtrt.json say together, or CKP050 when one of them was changed into something unknown. */
function quantizationOf(
  dir: string,
  { quantization }: CheckpointConfig,
  { options }: CheckpointManifest,
): QuantSpec | undefined {
  const spec = readQuantSpec({
    section: quantization,
    layout: options.weight_layout,
    floatWeights: options.float_weights,
  });
  return typeof spec === "string" ? fail(notConverted(dir, `${CONFIG_FILE}: ${spec}`)) : spec;
}

/** `mmtrt.json` of `dir`, or CKP050 when it is none of ours. */
export async function readManifest(dir: string): Promise<CheckpointManifest> {
  const path = join(dir, MANIFEST_FILE);
  const json = await readJsonObject(path).catch((error: unknown) => {
    const missing =
      error instanceof MmtrtError && error.problems.every(p => p.code === "CKP001" || p.code === "CKP002");
    return missing ? fail(notConverted(dir, `${MANIFEST_FILE} is missing`)) : Promise.reject(error);
  });
  if (json.kind !== "checkpoint") fail(notConverted(dir, `${MANIFEST_FILE} says kind ${JSON.stringify(json.kind)}`));
  if (json.format !== 1)
    fail(notConverted(dir, `${MANIFEST_FILE} has layout version ${JSON.stringify(json.format)}; this version reads 1`));
  if (!usable(json)) fail(notConverted(dir, `${MANIFEST_FILE} lacks options or files`));
  return json as unknown as CheckpointManifest;
}

function usable(json: JsonObject): boolean {
  const options = json.options as JsonObject | undefined;
  const count = (value: Json | undefined): boolean =>
    Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= 1024;
  const files =
    Array.isArray(json.files) &&
    json.files.every(f => isJsonObject(f) && typeof f.name === "string" && Number.isSafeInteger(f.size));
  if (typeof options !== "object" || options === null) return false;
  return files && count(options.tp_size) && count(options.pp_size) && isFloatDtype(options.dtype as "float32");
}

function parallelOf({ options }: CheckpointManifest): Parallel {
  return {
    tpSize: options.tp_size,
    ppSize: options.pp_size,
    parallelEmbedding: options.use_parallel_embedding,
    embeddingShardingDim: options.embedding_sharding_dim === 1 ? 1 : 0,
    shareEmbedding: options.use_embedding_sharing,
  };
}

interface Expected {
  readonly name: string;
  readonly dtype: string;
  readonly shape: Shape;
}

async function openWeights(
  pool: FilePool,
  dir: string,
  name: string,
  expected: readonly Expected[],
  manifest: CheckpointManifest,
  problems: Problem[],
): Promise<WeightFile> {
  const path = join(dir, name);
  const { tensors } = await openSafetensors(pool, path);
  const { size } = await pool.open(path);
  const recorded = manifest.files.find(file => join(dir, file.name) === path)?.size;
  if (recorded !== size)
    problems.push(misfit(path, `has ${size} bytes; ${MANIFEST_FILE} says ${recorded ?? "nothing about it"}`));
  const wrong = expected.flatMap(({ name: tensor, dtype, shape }) => {
    const found = tensors.get(tensor);
    if (found === undefined) return [`${tensor} is missing`];
    const same = found.dtype === dtype && sameShape(found.shape, shape);
    return same ? [] : [`${tensor} is ${found.dtype} ${showShape(found.shape)}; expected ${dtype} ${showShape(shape)}`];
  });
  if (wrong.length > 0)
    problems.push(
      misfit(path, `${wrong.slice(0, 5).join("; ")}${wrong.length > 5 ? ` and ${wrong.length - 5} more` : ""}`),
    );
  return { file: path, tensors };
}

function misfit(path: string, reason: string): Problem {
  return {
    code: "CKP051",
    what: `${path} does not fit the checkpoint: ${reason}`,
    at: path,
    why: "the graph takes names, shapes and offsets of its weights from here",
    fix: "run mmtrt convert again into a new directory",
  };
}

function notConverted(dir: string, reason: string): Problem {
  return {
    code: "CKP050",
    what: `${dir} is not a converted checkpoint: ${reason}`,
    at: dir,
    why: "engines are built from what mmtrt convert writes",
    fix: `mmtrt convert ${dir} --output_dir CHECKPOINT, then give CHECKPOINT`,
  };
}
