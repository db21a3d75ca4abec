import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { asProblem, FilePool } from "../../formats/file.ts";
import { type JsonObject, readJsonObject } from "../../formats/json.ts";
import { openTorch } from "../../formats/torch.ts";
import type { HfCheckpoint, StoredTensor } from "../../tensor/index.ts";
import { extraFilesOf } from "./extra-files.ts";
import { readMetaParams } from "./meta-params.ts";
import { joinMetaShards } from "./meta-tensors.ts";

/** A checkpoint in Meta's own layout; as a Hugging Face one its tensors are joined, renamed and in Hugging Face's row order. */
export interface MetaCheckpoint extends HfCheckpoint {
  /** params.json as it is. */
  readonly params: JsonObject;
  /** consolidated.00.pth, consolidated.01.pth, …: one slice of every tensor each, under Meta's names. */
  readonly shards: readonly ReadonlyMap<string, StoredTensor>[];
}

/** Opens params.json and consolidated.NN.pth; headers only. Errors: CKP001–CKP005, CKP008, CKP012–CKP015, CKP019, CKP022, CKP056. */
export async function openMeta(dir: string): Promise<MetaCheckpoint> {
  const pool = new FilePool();
  try {
    const names = (await readdir(dir)).sort();
    const files = shardFiles(dir, names);
    const paramsFile = join(dir, "params.json");
    const params = await readJsonObject(paramsFile);
    const shards: ReadonlyMap<string, StoredTensor>[] = [];
    for (const file of files) shards.push(await openTorch(pool, file));
    const sizes = readMetaParams(paramsFile, params);
    const { tensors, vocabSize, dtype } = joinMetaShards(dir, shards, sizes);
    return {
      dir,
      format: "meta",
      config: { ...sizes, vocab_size: sizes.vocab_size ?? vocabSize, torch_dtype: dtype },
      tensors,
      params,
      shards,
      extraFiles: extraFilesOf(names),
      generatedFiles: new Map(),
      warnings: [],
      weightFiles: files,
      changed: () => pool.changed(),
      close: () => pool.close(),
    };
  } catch (error) {
    await pool.close();
    throw asProblem(dir, error);
  }
}

/** Numbered from 00 without a gap: a missing slice would leave every tensor incomplete. */
function shardFiles(dir: string, names: readonly string[]): string[] {
  const files = names.filter(name => /^consolidated\.\d{2,}\.pth$/.test(name));
  const gap = files.findIndex((name, i) => Number(name.split(".")[1]) !== i);
  if (files.length > 0 && gap < 0) return files.map(name => join(dir, name));
  fail({
    code: "CKP019",
    what:
      files.length === 0
        ? `${dir} holds no consolidated.00.pth`
        : `${dir} holds ${files[gap]} where number ${gap} is expected`,
    at: dir,
    why: "Meta's files are numbered from 00, and each holds one slice of every tensor",
    fix: "give the directory with params.json and all consolidated.NN.pth files, or use a Hugging Face directory",
  });
}
