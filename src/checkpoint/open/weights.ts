import { join } from "node:path";
import { fail, MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { FilePool } from "../../formats/file.ts";
import { isJsonObject, readJsonObject } from "../../formats/json.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import { openTorch } from "../../formats/torch.ts";
import type { StoredTensor } from "../../tensor/index.ts";
import type { WeightLayout } from "./layout.ts";

const MAX_PROBLEMS = 20;

export interface Weights {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The weight files, by path. */
  readonly files: readonly string[];
  readonly warnings: readonly Problem[];
}

export async function openSingle(pool: FilePool, dir: string, layout: WeightLayout): Promise<Weights> {
  const path = join(dir, layout.file);
  return { tensors: await openShard(pool, layout, path), files: [path], warnings: [] };
}

/**
 * The tensors that the index ({ weight_map: { tensor: shard } }) names, each checked to be in its shard.
 * Tensors that the index does not name are warned about and kept, so that the coverage check of `convert` judges them.
 * Errors: CKP020 unusable index, CKP021 tensor not in its shard, CKP001… for each shard.
 */
export async function openIndexed(pool: FilePool, dir: string, layout: WeightLayout): Promise<Weights> {
  const at = join(dir, layout.file);
  const weightMap = await readWeightMap(at);
  const shards = new Map<string, ReadonlyMap<string, StoredTensor>>();
  const problems: Problem[] = [];
  for (const shard of [...new Set(weightMap.values())].sort()) {
    try {
      shards.set(shard, await openShard(pool, layout, join(dir, shard)));
    } catch (error) {
      problems.push(...problemsOf(error, at));
    }
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [name, shard] of weightMap) {
    const tensor = shards.get(shard)?.get(name);
    if (tensor) tensors.set(name, tensor);
    else if (shards.has(shard)) problems.push(notInShard(name, shard, at, shards));
  }
  throwIfAny(problems.slice(0, MAX_PROBLEMS));
  const warnings = [...shards].flatMap(([shard, stored]) => addUnnamed(tensors, weightMap, shard, stored, at));
  return { tensors, files: [...shards.keys()].map(shard => join(dir, shard)), warnings };
}

async function openShard(
  pool: FilePool,
  { format }: WeightLayout,
  path: string,
): Promise<ReadonlyMap<string, StoredTensor>> {
  return format === "torch" ? openTorch(pool, path) : (await openSafetensors(pool, path)).tensors;
}

async function readWeightMap(at: string): Promise<ReadonlyMap<string, string>> {
  const { weight_map } = await readJsonObject(at);
  if (!isJsonObject(weight_map)) fail(badIndex(at, "weight_map is not an object of file names"));
  const map = new Map<string, string>();
  const problems: Problem[] = [];
  for (const [name, shard] of Object.entries(weight_map)) {
    if (typeof shard !== "string")
      problems.push(badIndex(at, `weight_map gives ${show(name)} a value that is not a file name`));
    else if (!staysInside(shard))
      problems.push(
        badIndex(at, `weight_map gives ${show(name)} the file ${show(shard)}, which leads out of the directory`),
      );
    else map.set(name, shard);
  }
  throwIfAny(problems.slice(0, MAX_PROBLEMS));
  if (map.size === 0) fail(badIndex(at, "weight_map names no tensor"));
  return map;
}

/** A relative name without `..`; links inside the directory may lead anywhere (a Hugging Face cache is made of them). */
function staysInside(name: string): boolean {
  if (name === "" || /^[/\\]|^[a-zA-Z]:|\0/.test(name)) return false;
  return !name.split(/[/\\]/).includes("..");
}

function addUnnamed(
  tensors: Map<string, StoredTensor>,
  weightMap: ReadonlyMap<string, string>,
  shard: string,
  stored: ReadonlyMap<string, StoredTensor>,
  at: string,
): Problem[] {
  const unnamed = [...stored.values()].filter(tensor => weightMap.get(tensor.name) !== shard);
  if (unnamed.length === 0) return [];
  for (const tensor of unnamed) if (!tensors.has(tensor.name)) tensors.set(tensor.name, tensor);
  const names = unnamed.slice(0, 5).map(tensor => tensor.name);
  return [
    {
      code: "CKP021",
      what: `${shard} holds ${unnamed.length} tensors that the index does not place there: ${names.join(", ")}${unnamed.length > 5 ? ", …" : ""}`,
      at,
      why: "the index and the shards may be of two revisions of the model",
      fix: "download index and shards again if the model's text is wrong",
    },
  ];
}

function problemsOf(error: unknown, indexFile: string): readonly Problem[] {
  if (!(error instanceof MmtrtError)) throw error;
  return error.problems.map(p =>
    p.code === "CKP001" ? { ...p, why: `${indexFile} names it as a shard of the model` } : p,
  );
}

function notInShard(
  name: string,
  shard: string,
  at: string,
  shards: ReadonlyMap<string, ReadonlyMap<string, StoredTensor>>,
): Problem {
  const elsewhere = [...shards].find(([, stored]) => stored.has(name))?.[0];
  return {
    code: "CKP021",
    what: `tensor ${name} is not in ${shard}, where the index places it${elsewhere ? `; ${elsewhere} has one of that name` : ""}`,
    at,
    why: "the index and the shards are of two revisions of the model, or a shard is damaged",
    fix: "download index and shards again",
  };
}

function badIndex(at: string, message: string): Problem {
  return {
    code: "CKP020",
    what: `the weight index is not usable: ${message}`,
    at,
    why: "the index says which file holds each tensor, and is data from somebody else",
    fix: "download the index again; every file it names must be in its own directory",
  };
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
