import { stat } from "node:fs/promises";
import { join } from "node:path";
import { filesBelow } from "../cache/files.ts";
import type { HashMemo } from "../cache/memo.ts";
import type { SourceHashes } from "./keys.ts";

export interface Source {
  readonly hashes: SourceHashes;
  /** Bytes of all files. */
  readonly size: number;
}

/** A model has some hundred files at most; a wrong path may lead to a whole disk. */
const MAX_FILES = 20_000;
/** No conversion reads them, and they change more often than weights: notes, and what version control and downloads keep. */
const UNREAD = /(?:^|\/)\.|\.(?:md|txt|png|jpe?g|gif)$|(?:^|\/)LICENSE[^/]*$/i;
/** Vocabularies of some tokenizers are text. */
const READ_TEXTS = /(?:^|\/)(?:merges|vocab)\.txt$/;

/** Each file of a source by its hash; nothing for a path that is not there, which the step itself will report. */
export async function hashSource(path: string, memo: HashMemo, signal: AbortSignal): Promise<Source> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) return { hashes: {}, size: 0 };
  const names = info.isDirectory() ? (await filesBelow(path, MAX_FILES)).filter(isRead) : [""];
  const hashes: Record<string, string> = {};
  let size = 0;
  for (const name of names) {
    const found = await memo.hash(name === "" ? path : join(path, name), signal);
    signal.throwIfAborted();
    if (found === undefined) continue;
    hashes[name] = found.sha256;
    size += found.size;
  }
  return { hashes, size };
}

function isRead(name: string): boolean {
  return !UNREAD.test(name) || READ_TEXTS.test(name);
}
