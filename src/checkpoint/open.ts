import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { asProblem, FilePool } from "../formats/file.ts";
import { type JsonObject, readJsonObject } from "../formats/json.ts";
import type { HfCheckpoint, OpenedModel } from "../tensor/index.ts";
import { extraFilesOf } from "./open/extra-files.ts";
import { isFolderModel, openFolders } from "./open/folders.ts";
import { openGguf } from "./open/gguf.ts";
import { withImageProcessor } from "./open/image-processor.ts";
import { withLanguageModel } from "./open/language-model.ts";
import { findWeights, noCheckpoint, type WeightLayout } from "./open/layout.ts";
import { withAspectRatio } from "./open/llava-processor.ts";
import { withQuantConfig } from "./open/quant-config.ts";
import { withVisionTower } from "./open/vision-tower.ts";
import { openIndexed, openSingle } from "./open/weights.ts";

export interface OpenOptions {
  /** Directory of the vision tower that LLaVA's own checkpoints name and do not store. */
  readonly visionTowerDir?: string | undefined;
  /** Directory of a language model that takes the place of the multimodal checkpoint's own. */
  readonly llmDir?: string | undefined;
}

/**
 * Opens a Hugging Face directory (config.json with safetensors or PyTorch weights, whole or in shards) or a GGUF file,
 * given itself or as the only weights of a directory; VILA's directory of three directories; LLaVA's own layout with a
 * vision tower elsewhere; BLIP-2 or LLaVA with the language model of another directory. Reads headers only; `close()`
 * gives the descriptors back. Errors: CKP001–CKP024, CKP059, CKP070.
 */
export async function openHf(path: string, options: OpenOptions = {}): Promise<HfCheckpoint> {
  const pool = new FilePool();
  try {
    return await openWith(pool, path, options);
  } catch (error) {
    await pool.close();
    throw asProblem(path, error);
  }
}

async function openWith(pool: FilePool, path: string, options: OpenOptions): Promise<HfCheckpoint> {
  const isFile = !(await stat(path)).isDirectory();
  if (isFile && path.endsWith(".gguf")) return openGguf(pool, path);
  if (isFile) throw noCheckpoint(path, "it is a file; a directory or a .gguf file is expected");
  const names = (await readdir(path)).sort();
  const config = names.includes("config.json")
    ? await withQuantConfig(path, names, await readJsonObject(join(path, "config.json")))
    : undefined;
  if (config && isFolderModel(config)) {
    const folders = await openFolders(pool, path, names, config);
    const model = await withVisionTower(pool, folders, options.visionTowerDir);
    return {
      ...(await withAspectRatio(await withLanguageModel(pool, model, options.llmDir))),
      changed: () => pool.changed(),
      close: () => pool.close(),
    };
  }
  const found = findWeights(path, names);
  if (found.format === "gguf") return openGguf(pool, join(path, found.file), path, extraFilesOf(names));
  if (config === undefined) throw noCheckpoint(path, "config.json is missing");
  return {
    ...(await openFlat(pool, path, names, config, found, options)),
    changed: () => pool.changed(),
    close: () => pool.close(),
  };
}

async function openFlat(
  pool: FilePool,
  path: string,
  names: readonly string[],
  config: JsonObject,
  found: WeightLayout,
  { visionTowerDir, llmDir }: OpenOptions,
): Promise<OpenedModel> {
  const weights = await (found.indexed ? openIndexed : openSingle)(pool, path, found);
  const model = {
    dir: path,
    format: found.format,
    config,
    tensors: weights.tensors,
    extraFiles: extraFilesOf(names),
    generatedFiles: new Map(),
    warnings: weights.warnings,
    weightFiles: weights.files,
  };
  const seeing = await withVisionTower(pool, model, visionTowerDir);
  return withImageProcessor(await withAspectRatio(await withLanguageModel(pool, seeing, llmDir)));
}

export { type MetaCheckpoint, openMeta } from "./open/meta.ts";
