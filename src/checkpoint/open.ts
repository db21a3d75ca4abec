import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { asProblem, FilePool } from "../formats/file.ts";
import { readJsonObject } from "../formats/json.ts";
import type { HfCheckpoint } from "../tensor/index.ts";
import { extraFilesOf } from "./open/extra-files.ts";
import { openGguf } from "./open/gguf.ts";
import { findWeights, noCheckpoint } from "./open/layout.ts";
import { openIndexed, openSingle } from "./open/weights.ts";

/**
 * Opens a Hugging Face directory (config.json with safetensors or PyTorch weights, whole or in shards) or a GGUF file,
 * given itself or as the only weights of a directory. Reads headers only; `close()` gives the descriptors back.
 * Errors: CKP001–CKP024.
 */
export async function openHf(path: string): Promise<HfCheckpoint> {
  const pool = new FilePool();
  try {
    return await openWith(pool, path);
  } catch (error) {
    await pool.close();
    throw asProblem(path, error);
  }
}

async function openWith(pool: FilePool, path: string): Promise<HfCheckpoint> {
  const isFile = !(await stat(path)).isDirectory();
  if (isFile && path.endsWith(".gguf")) return openGguf(pool, path);
  if (isFile) throw noCheckpoint(path, "it is a file; a directory or a .gguf file is expected");
  const names = (await readdir(path)).sort();
  const found = findWeights(path, names);
  if (found.format === "gguf") return openGguf(pool, join(path, found.file), path, extraFilesOf(names));
  if (!names.includes("config.json")) throw noCheckpoint(path, "config.json is missing");
  const config = await readJsonObject(join(path, "config.json"));
  const weights = await (found.indexed ? openIndexed : openSingle)(pool, path, found);
  return {
    dir: path,
    format: found.format,
    config,
    tensors: weights.tensors,
    extraFiles: extraFilesOf(names),
    generatedFiles: new Map(),
    warnings: weights.warnings,
    weightFiles: weights.files,
    close: () => pool.close(),
  };
}

export { type MetaCheckpoint, openMeta } from "./open/meta.ts";
