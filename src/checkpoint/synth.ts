import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeSafetensors } from "../formats/safetensors.ts";
import { readModel } from "../models/registry.ts";
import { byteLength, type FloatDtype, type TensorRecipe } from "../tensor/index.ts";
import { needSpace, writeJson } from "./files.ts";
import { OutputDir } from "./output-dir.ts";
import { drawOf, randomTensor } from "./random-tensor.ts";
import { type SynthPart, synthParts } from "./synth-layout.ts";

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
  /** Relative to the directory. */
  readonly files: readonly string[];
  readonly tensors: number;
  readonly bytes: number;
}

/**
 * Writes a Hugging Face checkpoint with seeded random weights, in the names and directories it is published in. Streamed:
 * memory does not grow with the model. Errors: SPC… of the config, CKP009, CKP046, CKP047.
 */
export async function synth(request: SynthRequest): Promise<SynthResult> {
  const parts = synthParts(readModel(request.config), request.config).map(part => planPart(part, request));
  const recipes = parts.flatMap(({ shards }) => shards.flat());
  const total = bytesOf(recipes);
  const output = await OutputDir.open(request.outputDir, fingerprint(request));
  if (output === "done") throw new Error("synth writes no manifest, so nothing can be done already");
  let done = 0;
  const advance = (bytes: number): void => {
    done += bytes;
    request.onProgress?.(done, total);
  };
  try {
    await needSpace(output.stage, total);
    const files: string[] = [];
    for (const part of parts) files.push(...(await writePart(part, output.stage, advance, request)));
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

interface PlannedPart extends Pick<SynthPart, "dir" | "config"> {
  readonly shards: readonly TensorRecipe[][];
}

/** A tensor's values follow from its name with its directory, so that no two of a model are the same. */
function planPart({ dir, config, tensors }: SynthPart, { dtype, seed, maxShardSize }: SynthRequest): PlannedPart {
  const recipes = tensors.map(({ name, shape }) => {
    const { name: _, ...values } = randomTensor(join(dir, name), dtype, shape, drawOf(name, shape), seed);
    return { name, ...values };
  });
  return { dir, config, shards: splitShards(recipes, maxShardSize) };
}

function bytesOf(recipes: readonly TensorRecipe[]): number {
  return recipes.reduce((sum, { dtype, shape }) => sum + byteLength(dtype, shape), 0);
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

/** config.json, the weights if the directory has any, and their index if they are in several files. */
async function writePart(
  { dir, config, shards }: PlannedPart,
  stage: string,
  advance: (bytes: number) => void,
  { dtype, signal }: SynthRequest,
): Promise<string[]> {
  await mkdir(join(stage, dir), { recursive: true });
  const number = (n: number): string => String(n).padStart(5, "0");
  const names =
    shards.length === 1
      ? ["model.safetensors"]
      : shards.map((_, i) => `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
  for (const [i, recipes] of shards.entries()) {
    // transformers refuses a file whose metadata does not name the framework.
    const options = { metadata: { format: "pt" }, onProgress: advance, ...(signal && { signal }) };
    await writeSafetensors(join(stage, dir, names[i] as string), recipes, options);
  }
  await writeJson(join(stage, dir, "config.json"), { ...config, torch_dtype: dtype });
  if (shards.length > 1) {
    const weight_map = Object.fromEntries(shards.flatMap((recipes, i) => recipes.map(({ name }) => [name, names[i]])));
    const metadata = { total_size: bytesOf(shards.flat()) };
    await writeJson(join(stage, dir, "model.safetensors.index.json"), { metadata, weight_map });
    names.push("model.safetensors.index.json");
  }
  return names.map(name => join(dir, name));
}
