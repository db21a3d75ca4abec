import { randomUUID } from "node:crypto";
import { copyFile, link, lstat, mkdir, readdir, rename, rm, stat, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { smallText } from "../../formats/file.ts";
import { writeText } from "../files.ts";

/** Of a git commit; other revisions are branches and tags. */
export const COMMIT = /^[0-9a-f]{40}$/;
/** Folders of a model (VILA's) are one deep; what lies deeper is never needed. */
const DEPTH = 2;

/**
 * One repository in the Hub's cache, laid out as Hugging Face's Python package does, so that both share it:
 * `refs/main` holds a commit, `blobs/<etag>` the bytes, `snapshots/<commit>/<file>` links to them.
 */
export class RepoCache {
  readonly dir: string;

  constructor(cacheDir: string, repo: string) {
    this.dir = join(cacheDir, `models--${repo.replaceAll("/", "--")}`);
  }

  blob(etag: string): string {
    return join(this.dir, "blobs", etag);
  }

  snapshot(commit: string): string {
    return join(this.dir, "snapshots", commit);
  }

  /** The commit that a branch or tag stood at when it was last looked up. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const text = await smallText(join(this.dir, "refs", ...revision.split("/")));
    return COMMIT.test(text.trim()) ? text.trim() : undefined;
  }

  async rememberCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const file = join(this.dir, "refs", ...revision.split("/"));
    await mkdir(dirname(file), { recursive: true });
    // Under a name of its own: two processes may look the same branch up at once.
    const aside = `${file}.${randomUUID()}`;
    await writeText(aside, commit);
    await rename(aside, file);
  }

  /** Names in a snapshot whose bytes are there too, relative to it. */
  async names(commit: string): Promise<readonly string[]> {
    const found: string[] = [];
    const walk = async (folder: string, depth: number): Promise<void> => {
      const entries = await readdir(join(this.snapshot(commit), folder)).catch(() => []);
      for (const entry of entries) {
        const name = folder === "" ? entry : `${folder}/${entry}`;
        const info = await stat(join(this.snapshot(commit), name)).catch(() => undefined);
        if (info?.isFile()) found.push(name);
        else if (info?.isDirectory() && depth < DEPTH) await walk(name, depth + 1);
      }
    };
    await walk("", 1);
    return found.sort();
  }

  /** Whether the blob is there with its size; one of another size is a leftover of something else and is removed. */
  async has(etag: string, size: number): Promise<boolean> {
    const info = await stat(this.blob(etag)).catch(() => undefined);
    if (info?.isFile() && info.size === size) return true;
    if (info !== undefined) await rm(this.blob(etag), { force: true });
    return false;
  }

  /** Makes `snapshots/<commit>/<name>` lead to the blob: a relative link, so that the cache can be moved. */
  async link(commit: string, name: string, etag: string): Promise<void> {
    const file = join(this.snapshot(commit), ...name.split("/"));
    const blob = this.blob(etag);
    const there = await Promise.all([stat(file), stat(blob)]).catch(() => undefined);
    if (there !== undefined && there[0].ino === there[1].ino && there[0].dev === there[1].dev) return;
    await mkdir(dirname(file), { recursive: true });
    const aside = `${file}.${randomUUID()}`;
    await place(blob, aside);
    await rename(aside, file);
  }

  /** Bytes that an interrupted download has left of a blob. */
  async partialSize(etag: string): Promise<number> {
    const info = await lstat(`${this.blob(etag)}.partial`).catch(() => undefined);
    return info?.size ?? 0;
  }
}

/** Not every file system and account may make symbolic links. */
async function place(blob: string, file: string): Promise<void> {
  try {
    await symlink(relative(dirname(file), blob), file);
  } catch {
    await link(blob, file).catch(() => copyFile(blob, file));
  }
}
