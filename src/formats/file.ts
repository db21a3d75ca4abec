import { readSync } from "node:fs";
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { fail, MmtrtError, type Problem } from "../diagnostics/index.ts";

/** Descriptors kept open at once: a 405B model has 191 shards, and the usual limit of a process is 256 on
 * macOS. More are open only while more files are being read at the same moment. */
const MAX_OPEN = 32;
/** One read call takes at most 0x7ffff000 bytes on Linux; stay at a round number below. */
const MAX_READ = 1 << 30;
const LFS_HEAD = "version https://git-lfs.github.com/spec/v1";

/** A file of a checkpoint: positional reads that give every byte asked for or a problem. */
export interface SourceFile {
  readonly path: string;
  /** Bytes, as of when it was opened. */
  readonly size: number;
  /** `length` bytes from `offset` in a buffer of their own (so any typed array can view it). Errors: CKP002, CKP005. */
  read(offset: number, length: number): Promise<Uint8Array>;
  readInto(target: Uint8Array, offset: number): Promise<void>;
}

interface Entry {
  readonly handle: Promise<FileHandle>;
  users: number;
}

/** What tells a file from the one that had its name before. Not the time of change of its inode, which a hard link moves. */
interface Stamp {
  readonly file: string;
  readonly size: number;
}

/** Few descriptors for any number of files and tensors: opened on demand, the least recently used closed first. */
export class FilePool {
  readonly #entries = new Map<string, Entry>();
  readonly #stamps = new Map<string, Stamp>();
  #closed = false;

  /** Errors: CKP001 missing, CKP002 unreadable, CKP003 empty, CKP004 Git LFS pointer. */
  async open(path: string): Promise<SourceFile> {
    const stamp = await stampOf(path);
    const { size } = stamp;
    if (size === 0) fail(emptyFile(path));
    // The first look counts: what a second one would see may not be what was read since.
    if (!this.#stamps.has(path)) this.#stamps.set(path, stamp);
    const file: SourceFile = {
      path,
      size,
      read: async (offset, length) => {
        // Bounded before allocating: a length from a hostile header must not reach the allocator.
        if (!(offset >= 0 && length >= 0 && offset + length <= size)) fail(cutShort(path, offset, length, size));
        const target = bufferOf(length);
        await this.readInto(path, target, offset);
        return target;
      },
      readInto: (target, offset) => this.readInto(path, target, offset),
    };
    if (size < 1024) await refuseLfsPointer(file);
    return file;
  }

  /** Fills `target` with the bytes of `path` from `offset`. Errors: CKP002, CKP005 when the file ends first. */
  async readInto(path: string, target: Uint8Array, offset: number): Promise<void> {
    await this.#use(path, async handle => {
      for (let done = 0; done < target.byteLength; ) {
        const wanted = Math.min(target.byteLength - done, MAX_READ);
        const { bytesRead } = await handle.read(target, done, wanted, offset + done);
        if (bytesRead === 0) fail(cutShort(path, offset, target.byteLength, offset + done));
        done += bytesRead;
      }
    });
  }

  /**
   * The same without leaving the thread, for long copies in short pieces: a piece stays in the core's cache between this
   * read and the write that follows, which halves the CPU time of a copy. `target` should be about a megabyte at most.
   */
  async readIntoHere(path: string, target: Uint8Array, offset: number): Promise<void> {
    await this.#use(path, handle => {
      for (let done = 0; done < target.byteLength; ) {
        const read = readSync(handle.fd, target, done, target.byteLength - done, offset + done);
        if (read === 0) fail(cutShort(path, offset, target.byteLength, offset + done));
        done += read;
      }
    });
  }

  /** CKP065 for each opened file that was replaced, written to or removed since: what was read may be of two versions. */
  async changed(): Promise<readonly Problem[]> {
    const looks = await Promise.all(
      [...this.#stamps].map(async ([path, { file }]) => {
        const now = await stampOf(path).catch(() => undefined);
        return now?.file === file ? [] : [changedFile(path)];
      }),
    );
    return looks.flat();
  }

  async close(): Promise<void> {
    this.#closed = true;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    await Promise.all(entries.map(closeEntry));
  }

  async #use(path: string, action: (handle: FileHandle) => void | Promise<void>): Promise<void> {
    if (this.#closed) throw new Error(`read of ${path} after its checkpoint was closed`);
    const entry = this.#acquire(path);
    try {
      await action(await entry.handle);
    } catch (error) {
      throw asProblem(path, error);
    } finally {
      entry.users--;
      await this.#trim();
    }
  }

  #acquire(path: string): Entry {
    const entry = this.#entries.get(path) ?? { handle: open(path, "r"), users: 0 };
    entry.users++;
    // Moved to the end: a Map keeps insertion order, so the front is the least recently used.
    this.#entries.delete(path);
    this.#entries.set(path, entry);
    entry.handle.catch(() => this.#entries.delete(path));
    return entry;
  }

  async #trim(): Promise<void> {
    for (const [path, entry] of this.#entries) {
      if (this.#entries.size <= MAX_OPEN) return;
      if (entry.users > 0) continue;
      this.#entries.delete(path);
      await closeEntry(entry);
    }
  }
}

/**
 * A small text that may as well not be there: empty where it is missing, too large or no file. What is opened without a look
 * may be a pipe, which nobody ever writes into, or a device without an end.
 */
export async function smallText(path: string, maxBytes = 1 << 20): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true || info.size > maxBytes) return "";
  return readFile(path, "utf8").catch(() => "");
}

/** Bytes of a regular file. Errors: CKP001, CKP002. */
export async function sizeOfFile(path: string): Promise<number> {
  return (await stampOf(path)).size;
}

/** Uninitialised memory of its own: 8–16 MB bands are filled at once, zeroing them first would cost a pass over memory. */
export function bufferOf(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer, 0, length);
}

export function cutShort(path: string, offset: number, needed: number, end: number): Problem {
  return {
    code: "CKP005",
    what: `${path} ends at byte ${end}, but ${needed} bytes are expected from byte ${offset}`,
    at: `${path}, byte ${offset}`,
    why: "the file is shorter than its header says, or was cut while it was being read",
    fix: "compare its size with the source and download or copy it again",
  };
}

/** A system error while reading `path` as a problem; anything else (a problem already, or a bug) as it is. */
export function asProblem(path: string, error: unknown): unknown {
  if (error instanceof MmtrtError || !(error instanceof Error) || !("code" in error)) return error;
  if (error.code === "ENOENT") return new MmtrtError([missingFile(path)], { cause: error });
  return new MmtrtError([unreadable(path, error.message)], { cause: error });
}

function missingFile(path: string): Problem {
  return {
    code: "CKP001",
    what: `${path} does not exist`,
    at: path,
    why: "it was asked for by this name, or belongs to what was",
    fix: "download the file again or correct the path",
  };
}

async function stampOf(path: string): Promise<Stamp> {
  try {
    const info = await stat(path, { bigint: true });
    if (!info.isFile()) fail(unreadable(path, "it is not a regular file"));
    return { file: `${info.dev}:${info.ino}:${info.size}:${info.mtimeNs}`, size: Number(info.size) };
  } catch (error) {
    throw asProblem(path, error);
  }
}

async function refuseLfsPointer(file: SourceFile): Promise<void> {
  const head = Buffer.from(await file.read(0, file.size)).toString("latin1");
  if (!head.startsWith(LFS_HEAD)) return;
  const size = /^size (\d+)$/m.exec(head)?.[1];
  fail({
    code: "CKP004",
    what: `${file.path} is a Git LFS pointer of ${file.size} bytes${size ? `; the real file has ${size}` : ""}`,
    at: file.path,
    why: "the repository was cloned without Git LFS, so the weights were not downloaded",
    fix: "git lfs install && git lfs pull (in the clone), or download the model again",
  });
}

function changedFile(path: string): Problem {
  return {
    code: "CKP065",
    what: `${path} was changed while it was being read`,
    at: path,
    why: "a part of it may be of the old file and a part of the new one",
    fix: "wait until the program that writes it has ended, and run this again",
  };
}

function emptyFile(path: string): Problem {
  return {
    code: "CKP003",
    what: `${path} is empty`,
    at: path,
    why: "an interrupted download or a full disk leaves a file of 0 bytes",
    fix: "download the file again",
  };
}

function unreadable(path: string, reason: string): Problem {
  return {
    code: "CKP002",
    what: `${path} cannot be read: ${reason}`,
    at: path,
    why: "the operating system refused the file",
    fix: "check that it is a file, its permissions, and the disk",
  };
}

async function closeEntry(entry: Entry): Promise<void> {
  // A handle that never opened has reported its error to the reader already.
  const handle = await entry.handle.catch(() => undefined);
  await handle?.close();
}
