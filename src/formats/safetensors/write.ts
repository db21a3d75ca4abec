import { writeSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { setImmediate } from "node:timers/promises";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { type ByteRange, byteLength, DTYPES, recipeBytes, showShape, type TensorRecipe } from "../../tensor/index.ts";
import { bufferOf, FilePool } from "../file.ts";
import { encodeHeader, type TensorEntry } from "./header.ts";

export interface WriteOptions {
  readonly metadata?: Readonly<Record<string, string>>;
  /** Aborting rejects with the signal's reason and leaves no file. */
  readonly signal?: AbortSignal;
  /** Called with the bytes of tensors written since the last call. */
  readonly onProgress?: (bytes: number) => void;
  /** Most bytes of a computed tensor at once; two or three such bands are alive. */
  readonly bandBytes?: number;
  /** Memory that file ranges are copied through, about a megabyte; for an `inspect` that looks faster at its own. */
  readonly scratch?: Uint8Array;
  /** Sees every chunk on its way, in order (for a count of NaNs); the memory is reused after it returns. */
  readonly inspect?: (recipe: TensorRecipe, chunk: Uint8Array) => void;
}

export interface WrittenFile {
  readonly bytes: number;
  readonly entries: ReadonlyMap<string, TensorEntry>;
}

/** Bytes of a computed tensor at once. */
const BAND = 8 << 20;
/** Bytes of a file range at once: they stay in a core's cache from the read to the write. */
const PIECE = 1 << 20;
/** Bytes copied on this thread before timers, signals and other files get their turn. */
const YIELD_EVERY = 8 << 20;
/** Bytes between two requests to start writing back: the disk works while we copy, so the last fsync has little left. */
const SYNC_EVERY = 256 << 20;

/**
 * Streams `recipes` into `path`: the header is computed first, so memory stays at two bands whatever the size.
 * Written to `path.partial`, synced, then renamed; nothing is left on failure.
 * Wider dtypes come first (each group in the order given), which keeps every tensor aligned to its element.
 * Errors: CKP007 a recipe gives another number of bytes than its shape needs; CKP009 cannot write; those of the sources.
 */
export async function writeSafetensors(
  path: string,
  recipes: readonly TensorRecipe[],
  options: WriteOptions = {},
): Promise<WrittenFile> {
  const ordered = [...recipes].sort((a, b) => DTYPES[b.dtype].bits - DTYPES[a.dtype].bits);
  const { header, entries } = encodeHeader(ordered, options.metadata);
  const partial = `${path}.partial`;
  try {
    const bytes = await writeAside(partial, header, ordered, options);
    await rename(partial, path);
    await syncDirectory(dirname(path));
    return { bytes, entries };
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined);
    throw asWriteProblem(path, error);
  }
}

async function writeAside(
  partial: string,
  header: Uint8Array,
  recipes: readonly TensorRecipe[],
  { signal, onProgress, inspect, bandBytes = BAND, scratch }: WriteOptions,
): Promise<number> {
  signal?.throwIfAborted();
  const pool = new FilePool();
  const writer = new SyncingWriter(await open(partial, "w"));
  const piece = scratch ?? bufferOf(PIECE);
  try {
    await writer.write(header);
    for (const recipe of recipes) {
      const begin = writer.bytes;
      const pass = (chunk: Uint8Array): void => {
        inspect?.(recipe, chunk);
        onProgress?.(chunk.byteLength);
        signal?.throwIfAborted();
      };
      if (recipe.ranges) await copyRanges(recipe.ranges, pool, piece, writer, pass);
      else await writeBands(recipe, bandBytes, writer, pass);
      const written = writer.bytes - begin;
      if (written !== byteLength(recipe.dtype, recipe.shape)) fail(sizeMismatch(recipe, written));
    }
    await writer.finish();
    return writer.bytes;
  } finally {
    await writer.close();
    await pool.close();
  }
}

async function writeBands(
  recipe: TensorRecipe,
  bandBytes: number,
  writer: SyncingWriter,
  pass: (chunk: Uint8Array) => void,
): Promise<void> {
  for await (const chunk of oneAhead(recipeBytes(recipe, bandBytes))) {
    await writer.write(chunk);
    pass(chunk);
  }
}

/** The ranges one after the other in full pieces, so that many short ranges do not become many short writes. */
async function copyRanges(
  ranges: readonly ByteRange[],
  pool: FilePool,
  piece: Uint8Array,
  writer: SyncingWriter,
  pass: (chunk: Uint8Array) => void,
): Promise<void> {
  let filled = 0;
  let sinceYield = 0;
  const flush = async (): Promise<void> => {
    const chunk = piece.subarray(0, filled);
    writer.writeHere(chunk);
    pass(chunk);
    sinceYield += filled;
    filled = 0;
    if (sinceYield < YIELD_EVERY) return;
    sinceYield = 0;
    await setImmediate();
  };
  for (const { file, offset, length } of ranges) {
    for (let done = 0; done < length; ) {
      const part = Math.min(piece.byteLength - filled, length - done);
      await pool.readIntoHere(file, piece.subarray(filled, filled + part), offset + done);
      done += part;
      filled += part;
      if (filled === piece.byteLength) await flush();
    }
  }
  if (filled > 0) await flush();
}

/** Asks `source` for the next item before the present one is used, so that reading overlaps with writing. */
async function* oneAhead<T>(source: AsyncGenerator<T, void>): AsyncGenerator<T> {
  let next = source.next();
  try {
    for (let result = await next; !result.done; result = await next) {
      next = source.next();
      // Thrown where it is awaited; unhandled until then it would end the process.
      next.catch(() => undefined);
      yield result.value;
    }
  } finally {
    // A read still in flight must end before its buffer and file go.
    await next.catch(() => undefined);
  }
}

/** Sequential writes with write-back started on the way. */
class SyncingWriter {
  readonly #handle: FileHandle;
  #unsynced = 0;
  #syncing: Promise<void> | undefined;
  #failure: unknown;
  bytes = 0;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.byteLength; ) {
      const { bytesWritten } = await this.#handle.write(chunk, done, chunk.byteLength - done, this.bytes);
      done += bytesWritten;
      this.bytes += bytesWritten;
    }
    this.#count(chunk.byteLength);
  }

  /** The same without leaving the thread; see `FilePool.readIntoHere`. */
  writeHere(chunk: Uint8Array): void {
    for (let done = 0; done < chunk.byteLength; ) {
      const written = writeSync(this.#handle.fd, chunk, done, chunk.byteLength - done, this.bytes);
      done += written;
      this.bytes += written;
    }
    this.#count(chunk.byteLength);
  }

  async finish(): Promise<void> {
    await this.#syncing;
    if (this.#failure !== undefined) throw this.#failure;
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#syncing;
    await this.#handle.close();
  }

  #count(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < SYNC_EVERY || this.#syncing !== undefined) return;
    this.#unsynced = 0;
    const done = (): void => {
      this.#syncing = undefined;
    };
    this.#syncing = this.#handle.datasync().then(done, error => {
      this.#failure = error;
    });
  }
}

/** The new name is durable only when the directory is; file systems that cannot sync a directory do not need it. */
async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

function sizeMismatch(recipe: TensorRecipe, written: number): Problem {
  return {
    code: "CKP007",
    what: `tensor ${recipe.name} gave ${written} bytes; ${recipe.dtype} ${showShape(recipe.shape)} needs ${byteLength(recipe.dtype, recipe.shape)}`,
    at: recipe.sources.length > 0 ? `${recipe.name}, made from ${recipe.sources.join(", ")}` : recipe.name,
    why: "a tensor of another length would shift all that follow it in the file",
    fix: "check that the source files are complete; if they are, please report this as a bug",
  };
}

function asWriteProblem(path: string, error: unknown): unknown {
  if (error instanceof MmtrtError || !(error instanceof Error) || !("syscall" in error)) return error;
  const problem: Problem = {
    code: "CKP009",
    what: `${path} cannot be written: ${error.message}`,
    at: path,
    why:
      "code" in error && error.code === "ENOSPC"
        ? "the disk is full"
        : "the operating system refused to create or write the file",
    fix: "free space, or choose an existing directory you may write to",
  };
  return new MmtrtError([problem], { cause: error });
}
