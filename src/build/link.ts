import { link, open, realpath, stat } from "node:fs/promises";
import { asOutputProblem, needSpace } from "../checkpoint/files.ts";
import { bufferOf } from "../formats/file.ts";
import type { BuildEvent } from "./events.ts";

export interface PlacedFile {
  readonly linked: boolean;
  readonly bytes: number;
}

/** Why a link cannot be made and a copy can: another file system, a file system without links, or too many of them. */
const COPY_INSTEAD: ReadonlySet<string> = new Set([
  "EXDEV",
  "EPERM",
  "ENOTSUP",
  "EOPNOTSUPP",
  "EMLINK",
  "ENOSYS",
  "EACCES",
]);
const CHUNK = 8 << 20;

/**
 * `source` under the name `target`: a hard link, so that weights take no space and no time, or with `copy` (or where
 * links cannot be made) a copy. A symbolic link is followed first: engines refuse weights that lead out of their folder.
 */
export async function* placeFile(
  source: string,
  target: string,
  options: { readonly copy: boolean; readonly label: string; readonly signal: AbortSignal },
): AsyncGenerator<BuildEvent, PlacedFile> {
  const real = await realpath(source);
  const { size } = await stat(real);
  if (!options.copy) {
    const refused = await tryLink(real, target);
    if (refused === undefined) return { linked: true, bytes: size };
    const message = `${options.label} is copied: a hard link to ${source} is not possible (${refused})`;
    yield { event: "note", message };
  }
  await needSpace(target.slice(0, target.lastIndexOf("/")), size);
  yield* copyBytes(real, target, size, options);
  return { linked: false, bytes: size };
}

async function tryLink(source: string, target: string): Promise<string | undefined> {
  try {
    await link(source, target);
    return undefined;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (COPY_INSTEAD.has(code)) return code;
    throw asOutputProblem(target, error);
  }
}

async function* copyBytes(
  source: string,
  target: string,
  total: number,
  { label, signal }: { readonly label: string; readonly signal: AbortSignal },
): AsyncGenerator<BuildEvent, void> {
  const from = await open(source, "r");
  try {
    const to = await open(target, "wx").catch((error: unknown) => {
      throw asOutputProblem(target, error);
    });
    try {
      const buffer = bufferOf(CHUNK);
      for (let done = 0; done < total; ) {
        signal.throwIfAborted();
        const { bytesRead } = await from.read(buffer, 0, CHUNK, done);
        if (bytesRead === 0) throw new Error(`${source} became shorter while it was copied`);
        await to.writeFile(buffer.subarray(0, bytesRead)).catch((error: unknown) => {
          throw asOutputProblem(target, error);
        });
        done += bytesRead;
        yield { event: "progress", id: label, label: `copy ${label}`, done, total, unit: "B" };
      }
      await to.sync();
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}
