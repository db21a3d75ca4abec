import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { FilePool } from "../../formats/file.ts";
import { isJsonObject, type JsonObject, readJsonObject } from "../../formats/json.ts";
import type { HfCheckpoint, OpenedModel, StoredTensor } from "../../tensor/index.ts";
import { extraFilesOf } from "./extra-files.ts";
import { findWeights, noCheckpoint } from "./layout.ts";
import { withQuantConfig } from "./quant-config.ts";
import { openIndexed, openSingle, type Weights } from "./weights.ts";

/** VILA's folders; each is a Hugging Face checkpoint, and config.json has its own copy of their configs. */
export const FOLDERS = ["llm", "vision_tower", "mm_projector"] as const;

/** A part of a model in a directory of its own. */
export interface PartDir {
  readonly config: JsonObject;
  readonly weights: Weights;
  readonly format: HfCheckpoint["format"];
  readonly names: readonly string[];
}

/** Told by the keys of its config.json, not by how the directory is called. */
export function isFolderModel(config: JsonObject): boolean {
  return FOLDERS.every(folder => config[`${folder}_cfg`] !== undefined);
}

/**
 * A checkpoint of several folders as one: tensors get the folder's name in front, `<folder>_cfg` becomes the folder's
 * own config.json, which is what VILA's code reads too. Errors: CKP019 for a folder that is none, CKP001…
 */
export async function openFolders(
  pool: FilePool,
  path: string,
  names: readonly string[],
  config: JsonObject,
): Promise<OpenedModel> {
  const parts = await Promise.all(FOLDERS.map(folder => openPart(pool, join(path, folder))));
  const tensors = new Map<string, StoredTensor>();
  const joined: Record<string, unknown> = { ...config };
  const extras = new Map(extraFilesOf(names).map(name => [name, name]));
  for (const [i, part] of parts.entries()) {
    const folder = FOLDERS[i] as string;
    joined[`${folder}_cfg`] = part.config;
    for (const [name, tensor] of part.weights.tensors)
      tensors.set(`${folder}.${name}`, { ...tensor, name: `${folder}.${tensor.name}` });
    // The tokenizer is the language model's, the image processor the vision tower's; the first of a name counts.
    for (const name of extraFilesOf(part.names)) if (!extras.has(name)) extras.set(name, `${folder}/${name}`);
  }
  return {
    dir: path,
    format: (parts[0] as PartDir).format,
    config: joined,
    tensors,
    extraFiles: [...extras.values()],
    generatedFiles: new Map(),
    warnings: parts.flatMap(part => part.weights.warnings),
    weightFiles: parts.flatMap(part => part.weights.files),
  };
}

/** config.json and weight headers of one directory. Errors: CKP019 when it is no checkpoint. */
export async function openPart(pool: FilePool, dir: string): Promise<PartDir> {
  const names = await entriesOf(dir);
  if (!names.includes("config.json")) throw noCheckpoint(dir, "config.json is missing");
  const found = findWeights(dir, names);
  if (found.format === "gguf")
    throw noCheckpoint(dir, "its weights are a GGUF file; safetensors or PyTorch is expected");
  const config = await withQuantConfig(dir, names, await readJsonObject(join(dir, "config.json")));
  const weights = await (found.indexed ? openIndexed : openSingle)(pool, dir, found);
  return { config, weights, format: found.format, names };
}

async function entriesOf(dir: string): Promise<string[]> {
  const isDir = await stat(dir).then(
    info => info.isDirectory(),
    () => false,
  );
  if (!isDir) throw noCheckpoint(dir, "there is no such directory");
  return (await readdir(dir)).sort();
}

/** A nested object of a config; an absent one is empty. */
export function objectAt(config: JsonObject, key: string): JsonObject {
  const value = config[key];
  return isJsonObject(value) ? value : {};
}
