import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { fail, MmtrtError } from "../../diagnostics/index.ts";
import { asOutputProblem } from "../files.ts";
import type { RemoteFile } from "./api.ts";
import type { HubHttp, Pause } from "./http.ts";
import type { HubName } from "./name.ts";
import { damaged, unreachable, unusable } from "./problems.ts";
import type { HubSettings } from "./settings.ts";

/** Attempts in a row that bring nothing; one that brings bytes starts the count anew. */
const MAX_FAILURES = 5;
const FIRST_PAUSE_MS = 1000;
const WRITE_BYTES = 1 << 20;

export interface Transfer {
  readonly name: HubName;
  readonly settings: HubSettings;
  readonly http: HubHttp;
  readonly signal: AbortSignal;
  /** Waits, or rejects when the signal is aborted. */
  readonly pause: Pause;
  /** Bytes more of the file; negative when what was there has to be fetched again. */
  onBytes(bytes: number): void;
}

/**
 * Fetches a file into `blob`. It grows under `blob.partial`, which a later call continues; only when size and hash are the
 * Hub's does it get its name. Network failures are tried again from where they were. Errors: HUB001–HUB004, HUB007, CKP009.
 */
export async function fetchBlob(file: RemoteFile, url: string, blob: string, transfer: Transfer): Promise<void> {
  const partial = `${blob}.partial`;
  for (let attempt = 1; ; attempt++) {
    const growing = await Growing.open(partial, file, transfer);
    try {
      await fill(growing, url, transfer);
      await growing.finish();
    } finally {
      await growing.close();
    }
    const seen = growing.mismatch();
    if (seen === undefined) break;
    // Damaged on the way, or continued from bytes that were: once more from the start.
    await rm(partial, { force: true });
    transfer.onBytes(-growing.size);
    const expected = file.hash === "git" ? `git's SHA-1 ${file.etag}` : `SHA-256 ${file.etag}`;
    if (attempt === 2) fail(damaged({ ...transfer, url }, file.name, seen, `${file.size} bytes with ${expected}`));
  }
  await rename(partial, blob).catch((error: unknown) => {
    throw asOutputProblem(blob, error);
  });
}

async function fill(growing: Growing, url: string, transfer: Transfer): Promise<void> {
  for (let failures = 0; !growing.full; ) {
    const before = growing.size;
    try {
      await receive(growing, url, transfer);
    } catch (error) {
      transfer.signal.throwIfAborted();
      if (!isTemporary(error)) throw error;
      failures = growing.size > before ? 1 : failures + 1;
      if (failures > MAX_FAILURES) throw error;
      await transfer.pause(FIRST_PAUSE_MS * 2 ** (failures - 1), transfer.signal);
    }
  }
}

/** One answer, as far as it comes. */
async function receive(growing: Growing, url: string, { http, settings, name, onBytes }: Transfer): Promise<void> {
  const stall = new Stall(settings.stallMs);
  try {
    const response = await http.file(url, growing.size, stall.signal);
    const from = startOf(response, growing.size);
    if (from === undefined) {
      await response.body?.cancel();
      fail(unusable({ name, settings, url }, `asked for bytes from ${growing.size}, it gives others`));
    }
    if (from < growing.size) {
      onBytes(-growing.size);
      await growing.restart();
    }
    for await (const chunk of response.body ?? []) {
      stall.alive();
      const taken = await growing.add(chunk);
      onBytes(taken);
      if (taken < chunk.byteLength) fail(unusable({ name, settings, url }, "it sends more than it announced"));
    }
  } catch (error) {
    http.broken(url, error);
  } finally {
    stall.stop();
  }
  if (!growing.full)
    fail(
      unreachable({ name, settings, url }, "closed the connection in the middle of a file", "the network broke off"),
    );
}

/** Where the bytes of an answer begin: 0 when the server knows no ranges; undefined when it gives others than asked. */
function startOf(response: Response, asked: number): number | undefined {
  if (response.status === 416 || response.status === 200) return response.status === 200 ? 0 : undefined;
  const [, start] = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "") ?? [];
  return Number(start) === asked ? asked : undefined;
}

function isTemporary(error: unknown): boolean {
  return error instanceof MmtrtError && error.problems.every(({ code }) => code === "HUB003");
}

/** Aborts a connection that brings nothing. */
class Stall {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(ms: number) {
    const end = (): void => this.#controller.abort(new Error(`timeout: no byte for ${ms / 1000} s`));
    this.#timer = setTimeout(end, ms);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  alive(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** A file on its way: its bytes so far, and their hash. */
class Growing {
  readonly #handle: FileHandle;
  readonly #file: RemoteFile;
  #hash: Hash;
  #size = 0;
  readonly #buffer: Uint8Array[] = [];
  #buffered = 0;

  private constructor(handle: FileHandle, file: RemoteFile) {
    this.#handle = handle;
    this.#file = file;
    this.#hash = hashOf(file);
  }

  /** What an earlier run left is hashed; its bytes are not counted as fetched. */
  static async open(path: string, file: RemoteFile, { signal }: Pick<Transfer, "signal">): Promise<Growing> {
    const left = await stat(path).catch(() => undefined);
    if (left !== undefined && left.size > file.size) await rm(path, { force: true });
    const handle = await open(path, left === undefined || left.size > file.size ? "w+" : "r+").catch(
      (error: unknown) => {
        throw asOutputProblem(path, error);
      },
    );
    const growing = new Growing(handle, file);
    try {
      if (left !== undefined && left.size <= file.size) await growing.#hashStart(path, left.size, signal);
      return growing;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #hashStart(path: string, size: number, signal: AbortSignal): Promise<void> {
    if (size === 0) return;
    for await (const chunk of createReadStream(path, { end: size - 1, highWaterMark: WRITE_BYTES, signal }))
      this.#hash.update(chunk as Uint8Array);
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size === this.#file.size;
  }

  /** Takes what fits and says how much that was. */
  async add(chunk: Uint8Array): Promise<number> {
    const taken = chunk.subarray(0, this.#file.size - this.#size);
    this.#hash.update(taken);
    this.#buffer.push(taken);
    this.#buffered += taken.byteLength;
    this.#size += taken.byteLength;
    if (this.#buffered >= WRITE_BYTES) await this.#flush();
    return taken.byteLength;
  }

  async restart(): Promise<void> {
    this.#buffer.length = 0;
    this.#buffered = 0;
    this.#size = 0;
    this.#hash = hashOf(this.#file);
    await this.#handle.truncate(0);
  }

  /** Every byte on the disk: the name it gets next promises that. */
  async finish(): Promise<void> {
    await this.#flush();
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    try {
      await this.#flush();
    } finally {
      await this.#handle.close();
    }
  }

  /** What is wrong with the whole file; undefined when it is the Hub's. To be asked once. */
  mismatch(): string | undefined {
    const digest = this.#hash.digest("hex");
    return digest === this.#file.etag ? undefined : `${this.#size} bytes with ${digest}`;
  }

  async #flush(): Promise<void> {
    if (this.#buffered === 0) return;
    const bytes = Buffer.concat(this.#buffer);
    const at = this.#size - bytes.byteLength;
    this.#buffer.length = 0;
    this.#buffered = 0;
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await this.#handle
        .write(bytes, done, bytes.byteLength - done, at + done)
        .catch((error: unknown) => {
          throw asOutputProblem(this.#file.name, error);
        });
      done += bytesWritten;
    }
  }
}

/** git hashes `blob <size>\0` before a file's bytes. */
function hashOf({ hash, size }: RemoteFile): Hash {
  return hash === "sha256" ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
