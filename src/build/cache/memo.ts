import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { open, stat } from "node:fs/promises";

import { hashFiles } from "../../checkpoint/hash.ts";
import { smallText } from "../../formats/file.ts";
import { writeWhole } from "./files.ts";

export interface FileHash {
  readonly size: number;
  readonly sha256: string;
}

/** Size, time of change in ns, SHA-256; by `device:inode`, so that all hard links of a file are one. */
type Row = readonly [size: number, mtime: string, sha256: string];

/** Larger files are hashed beside the program, on another core. */
const LARGE = 32 << 20;
const CHUNK = 1 << 20;
/** A file that was changed this shortly before may change again within the same tick of the file system's clock. */
const SETTLED_NS = 2_000_000_000n;
/** Rows beyond this are dropped, oldest first: 100 000 take about 20 MB. */
const MAX_ROWS = 100_000;
const MAX_BYTES = 64 << 20;

/**
 * SHA-256 of files, remembered by device, inode, size and time of change: 140 GB are read once and not at every run. The
 * memo is one machine's, since inodes are; without it, or when it is damaged, everything is hashed again.
 */
export class HashMemo {
  readonly #file: string;
  readonly #rows: Map<string, Row>;
  #changed = false;

  private constructor(file: string, rows: Map<string, Row>) {
    this.#file = file;
    this.#rows = rows;
  }

  static async load(file: string): Promise<HashMemo> {
    return new HashMemo(file, await readRows(file));
  }

  /** Undefined for a file that is not there (or no file). Other errors of the system are thrown. */
  async hash(path: string, signal?: AbortSignal): Promise<FileHash | undefined> {
    const before = await statOf(path);
    if (before === undefined) return undefined;
    const size = Number(before.size);
    const known = this.#rows.get(idOf(before));
    if (known !== undefined && known[0] === size && known[1] === String(before.mtimeNs)) {
      // Used rows are the last to be dropped.
      this.#rows.delete(idOf(before));
      this.#rows.set(idOf(before), known);
      return { size, sha256: known[2] };
    }
    const sha256 = await sha256Of(path, size, signal);
    const after = await statOf(path);
    if (after === undefined) return undefined;
    if (after.mtimeNs !== before.mtimeNs || after.size !== before.size) return this.hash(path, signal);
    if (BigInt(Date.now()) * 1_000_000n - after.mtimeNs > SETTLED_NS) this.#remember(after, sha256);
    return { size, sha256 };
  }

  /** Of a file that this process has just written and nobody else has the name of: read in any case, and remembered. */
  async hashOwn(path: string, signal?: AbortSignal): Promise<FileHash | undefined> {
    const info = await statOf(path);
    if (info === undefined) return undefined;
    const size = Number(info.size);
    const sha256 = await sha256Of(path, size, signal);
    this.#remember(info, sha256);
    return { size, sha256 };
  }

  /** Other processes of this machine may have saved meanwhile: their rows are kept. */
  async save(): Promise<void> {
    if (!this.#changed) return;
    this.#changed = false;
    const merged = new Map([...(await readRows(this.#file)), ...this.#rows]);
    const rows = [...merged].slice(-MAX_ROWS);
    await writeWhole(this.#file, JSON.stringify({ format: 1, files: Object.fromEntries(rows) }));
  }

  #remember(info: BigIntStats, sha256: string): void {
    this.#rows.delete(idOf(info));
    this.#rows.set(idOf(info), [Number(info.size), String(info.mtimeNs), sha256]);
    this.#changed = true;
  }
}

function idOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`;
}

async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    const info = await stat(path, { bigint: true });
    return info.isFile() ? info : undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

async function sha256Of(path: string, size: number, signal: AbortSignal | undefined): Promise<string> {
  if (size > LARGE) {
    const hashes = hashFiles([path]);
    const stop = (): void => void hashes.stop();
    signal?.addEventListener("abort", stop);
    try {
      const found = (await hashes.result).get(path);
      signal?.throwIfAborted();
      if (found === undefined) throw new Error(`${path} was not hashed`);
      return found;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }
  const handle = await open(path, "r");
  try {
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(CHUNK, size)));
    for (let at = 0; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, at);
      if (bytesRead === 0) return hash.digest("hex");
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

/** No rows from a file that is missing, too large or of another form: it is only a memo. */
async function readRows(file: string): Promise<Map<string, Row>> {
  try {
    const { format, files } = JSON.parse(await smallText(file, MAX_BYTES)) as { format?: unknown; files?: object };
    if (format !== 1 || typeof files !== "object" || files === null) return new Map();
    return new Map(Object.entries(files).filter((row): row is [string, Row] => isRow(row[1])));
  } catch {
    return new Map();
  }
}

function isRow(row: unknown): boolean {
  if (!Array.isArray(row) || row.length !== 3) return false;
  const [size, mtime, sha256] = row;
  return Number.isSafeInteger(size) && typeof mtime === "string" && /^[0-9a-f]{64}$/.test(String(sha256));
}
