import { writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Bytes between two requests to start writing back: the disk works while we copy, so the last fsync has little left. */
const SYNC_EVERY = 256 << 20;

/** A file written from its beginning to its end, with write-back started on the way. */
export class SyncingWriter {
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
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}
