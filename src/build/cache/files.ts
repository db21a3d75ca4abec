import { randomUUID } from "node:crypto";
import { mkdir, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { asOutputProblem, writeText } from "../../checkpoint/files.ts";

/** A small text file, whole or not at all, that several processes may write at once: the last one wins. Errors: CKP009. */
export async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true }).catch((error: unknown) => {
    throw asOutputProblem(path, error);
  });
  await writeText(path, text, `${path}.${randomUUID()}.partial`);
}

/** Names in a directory, sorted; none where there is no such directory. */
export async function namesIn(dir: string): Promise<readonly string[]> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
    throw error;
  });
  return names.sort();
}

/** Paths of all files below `dir`, relative to it, sorted. Links to files count as files; links to directories are not followed. */
export async function filesBelow(dir: string, most = Number.POSITIVE_INFINITY): Promise<readonly string[]> {
  const found: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    const entries = await readdir(join(dir, folder), { withFileTypes: true });
    for (const entry of entries) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) await walk(path);
      else if (found.push(path) > most) throw new Error(`${dir} has more than ${most} files`);
    }
  };
  await walk("");
  return found.sort();
}
