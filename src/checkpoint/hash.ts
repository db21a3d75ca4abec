import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { Worker } from "node:worker_threads";

/** 64 pieces of 64 KB: 4 MB a file, some milliseconds whatever its size. */
const SAMPLES = 64;
const SAMPLE_BYTES = 64 << 10;

/**
 * SHA-256 over the size and 64 evenly spaced pieces of 64 KB, first and last included: tells which weights a checkpoint
 * was made from, for training changes every tensor. It is no proof that each byte is intact; --hash gives that.
 */
export async function sampleHash(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const hash = createHash("sha256").update(`${size}`);
    const last = Math.max(0, size - SAMPLE_BYTES);
    const pieces = Math.min(SAMPLES, Math.ceil(size / SAMPLE_BYTES));
    for (let i = 0; i < pieces; i++) {
      const at = pieces === 1 ? 0 : Math.floor((last * i) / (pieces - 1));
      const { buffer, bytesRead } = await file.read(Buffer.alloc(SAMPLE_BYTES), 0, SAMPLE_BYTES, at);
      hash.update(buffer.subarray(0, bytesRead));
    }
    return hash.digest("hex");
  } finally {
    await file.close();
  }
}

/**
 * Runs beside the writer on a second core: at 1.6 GB/s one thread hashes about as fast as a disk takes the copy, so the
 * conversion does not wait for it. A string and not a file, because the program is bundled and workers cannot load
 * TypeScript. 1 MB reads stay in the CPU's cache between the copy and the hash.
 */
const HASHER = `
const { parentPort, workerData } = require("node:worker_threads");
const { createHash } = require("node:crypto");
const { openSync, readSync, closeSync } = require("node:fs");
const chunk = Buffer.allocUnsafeSlow(1 << 20);
for (const file of workerData) {
  const hash = createHash("sha256");
  const fd = openSync(file, "r");
  for (let n; (n = readSync(fd, chunk, 0, chunk.length, null)) > 0; ) hash.update(chunk.subarray(0, n));
  closeSync(fd);
  parentPort.postMessage({ file, sha256: hash.digest("hex") });
}
`;

export interface FileHashes {
  /** By path; rejects when a file cannot be read. */
  readonly result: Promise<ReadonlyMap<string, string>>;
  stop(): Promise<void>;
}

/** Plain SHA-256 of each file, as `sha256sum` and the Hugging Face Hub give it. */
export function hashFiles(files: readonly string[]): FileHashes {
  const worker = new Worker(HASHER, { eval: true, workerData: files });
  const hashes = new Map<string, string>();
  const result = new Promise<ReadonlyMap<string, string>>((resolve, reject) => {
    worker.on("message", ({ file, sha256 }: { file: string; sha256: string }) => hashes.set(file, sha256));
    worker.on("error", reject);
    worker.on("exit", () => resolve(hashes));
  });
  // Awaited only after the weights are written; unhandled until then it would end the process.
  result.catch(() => undefined);
  return { result, stop: async () => void (await worker.terminate()) };
}
