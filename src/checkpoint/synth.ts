import { createHash } from "node:crypto";
import { join } from "node:path";
import { writeSafetensors } from "../formats/safetensors.ts";
import type { ModelWeights, SourceTensor, WeightRule } from "../models/architecture.ts";
import { readModel } from "../models/registry.ts";
import type { ModelSpec } from "../models/spec.ts";
import { byteLength, type FloatDtype, type TensorRecipe } from "../tensor/index.ts";
import { needSpace, writeJson } from "./files.ts";
import { OutputDir } from "./output-dir.ts";
import { drawOf, randomTensor } from "./random-tensor.ts";

export interface SynthRequest {
  /** A Hugging Face config.json, read as strictly as convert reads it. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly dtype: FloatDtype;
  readonly seed: number;
  /** Most bytes of tensors in one file; a larger tensor has a file of its own. */
  readonly maxShardSize: number;
  readonly outputDir: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface SynthResult {
  readonly files: readonly string[];
  readonly tensors: number;
  readonly bytes: number;
}

/**
 * Writes a Hugging Face checkpoint with seeded random weights, in the names transformers saves. Streamed: memory does
 * not grow with the model. Errors: SPC… of the config, CKP009, CKP046, CKP047.
 */
export async function synth(request: SynthRequest): Promise<SynthResult> {
  const { architecture, spec } = readModel(request.config);
  const tensors = storedTensors(spec, architecture.weights(spec));
  const recipes = tensors.map(({ name, shape }) =>
    randomTensor(name, request.dtype, shape, drawOf(name, shape), request.seed),
  );
  const shards = splitShards(recipes, request.maxShardSize);
  const total = recipes.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
  const output = await OutputDir.open(request.outputDir, fingerprint(request));
  if (output === "done") throw new Error("synth writes no manifest, so nothing can be done already");
  try {
    await needSpace(output.stage, total);
    const files = await writeShards(shards, output.stage, total, request);
    await writeJson(join(output.stage, "config.json"), { ...request.config, torch_dtype: request.dtype });
    request.signal?.throwIfAborted();
    await output.publish();
    return { files, tensors: recipes.length, bytes: total };
  } catch (error) {
    await output.abandon(false);
    throw error;
  }
}

function fingerprint({ config, dtype, seed, maxShardSize }: SynthRequest): string {
  return createHash("sha256")
    .update(JSON.stringify({ synth: 1, config, dtype, seed, maxShardSize }))
    .digest("hex");
}

/** Every tensor transformers would save, unused vision layers included, so that the checkpoint loads there without a warning. */
function storedTensors(spec: ModelSpec, weights: ModelWeights): SourceTensor[] {
  const prefix = weights.languagePrefix ?? "";
  const seen = new Map<string, SourceTensor>();
  const add = ({ name, shape }: SourceTensor): void => void seen.set(name, { name, shape });
  const addStack = (stack: readonly WeightRule[], layers: number): void => {
    const rules = (...stages: readonly string[]): SourceTensor[] =>
      stack
        .filter(rule => stages.includes(rule.stage))
        .flatMap(rule => [...rule.from, ...(rule.times ? [rule.times.matrix] : [])]);
    for (const { name, shape } of rules("first", "every")) add({ name: prefix + name, shape });
    for (let layer = 0; layer < layers; layer++) {
      for (const { name, shape } of rules("layer")) add({ name: prefix + name.replace("{l}", String(layer)), shape });
    }
    for (const { name, shape } of rules("last")) add({ name: prefix + name, shape });
  };
  addStack(weights.encoder ?? [], spec.encoderDecoder?.encoder?.layers ?? 0);
  addStack(weights.language, spec.language.layers);
  for (const tensor of [...weights.visual, ...(weights.unused ?? [])]) add(tensor);
  return [...seen.values()];
}

function splitShards(recipes: readonly TensorRecipe[], limit: number): TensorRecipe[][] {
  const shards: TensorRecipe[][] = [];
  let room = 0;
  for (const recipe of recipes) {
    const size = byteLength(recipe.dtype, recipe.shape);
    if (size > room || shards.length === 0) {
      shards.push([]);
      room = limit;
    }
    shards.at(-1)?.push(recipe);
    room -= size;
  }
  return shards;
}

async function writeShards(
  shards: readonly TensorRecipe[][],
  dir: string,
  total: number,
  { signal, onProgress }: SynthRequest,
): Promise<string[]> {
  const number = (n: number): string => String(n).padStart(5, "0");
  const names =
    shards.length === 1
      ? ["model.safetensors"]
      : shards.map((_, i) => `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
  let done = 0;
  const advance = (bytes: number): void => {
    done += bytes;
    onProgress?.(done, total);
  };
  for (const [i, recipes] of shards.entries()) {
    // transformers refuses a file whose metadata does not name the framework.
    const options = { metadata: { format: "pt" }, onProgress: advance, ...(signal && { signal }) };
    await writeSafetensors(join(dir, names[i] as string), recipes, options);
  }
  if (shards.length === 1) return names;
  const weight_map = Object.fromEntries(shards.flatMap((recipes, i) => recipes.map(({ name }) => [name, names[i]])));
  await writeJson(join(dir, "model.safetensors.index.json"), { metadata: { total_size: total }, weight_map });
  return [...names, "model.safetensors.index.json"];
}
