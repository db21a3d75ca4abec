import { copyFile, open, rename, rm, statfs } from "node:fs/promises";
import { fail, MmtrtError, type Problem } from "../diagnostics/index.ts";
import { sizeOfFile } from "../formats/file.ts";

/** A small text file, whole or not at all; `partial` is its name until then. Errors: CKP009. */
export async function writeText(path: string, text: string, partial = `${path}.partial`): Promise<void> {
  try {
    const handle = await open(partial, "w");
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined);
    throw asOutputProblem(path, error);
  }
}

export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeText(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

/** A tokenizer file has 35 MB at most. */
const MAX_EXTRA_BYTES = 1 << 30;

/** A tokenizer or processor file, which lies beside the weights under a name that nobody has looked behind. Errors: CKP001, CKP002, CKP009. */
export async function copyExtra(from: string, to: string): Promise<void> {
  const size = await sizeOfFile(from);
  if (size > MAX_EXTRA_BYTES)
    fail({
      code: "CKP002",
      what: `${from} has ${size} bytes; at most ${MAX_EXTRA_BYTES} are copied`,
      at: from,
      why: "it is copied as it is, and no tokenizer or processor is near this size",
      fix: "check that this is the right file",
    });
  await copyInto(from, to);
}

/** Errors: CKP001, CKP002, CKP009. */
export async function copyInto(from: string, to: string): Promise<void> {
  // Copying a pipe would wait for ever.
  await sizeOfFile(from);
  await copyFile(from, to).catch((error: unknown) => {
    throw asOutputProblem(to, error);
  });
}

/** Says before the first byte that the disk is too small; undefined where the system does not tell. Errors: CKP009. */
export async function needSpace(dir: string, bytes: number): Promise<void> {
  const free = await statfs(dir).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Number.POSITIVE_INFINITY,
  );
  if (free >= bytes) return;
  throw new MmtrtError([
    outputProblem(
      dir,
      `${gigabytes(bytes)} are to be written, ${gigabytes(free)} are free`,
      "the disk is too full for the checkpoint",
    ),
  ]);
}

/** A system error while writing `path` as a problem; anything else as it is. */
export function asOutputProblem(path: string, error: unknown): unknown {
  if (error instanceof MmtrtError || !(error instanceof Error) || !("syscall" in error)) return error;
  const full = "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
  const why = full ? "the disk is full" : "the operating system refused to create or write it";
  return new MmtrtError([outputProblem(path, error.message, why)], { cause: error });
}

function outputProblem(path: string, reason: string, why: string): Problem {
  return {
    code: "CKP009",
    what: `${path} cannot be written: ${reason}`,
    at: path,
    why,
    fix: "free space, or give an output directory you may write to",
  };
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
