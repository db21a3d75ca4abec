import { randomUUID } from "node:crypto";
import { copyFile, link, mkdir, rename, rm } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { asOutputProblem } from "../../checkpoint/files.ts";
import { fail } from "../../diagnostics/index.ts";
import type { Cache } from "../cache/store.ts";
import { fingerprint } from "../fingerprint.ts";
import type { Cell } from "./cell.ts";
import type { BuilderIdentity } from "./keys.ts";

/** SHA-256 of timing caches, by the name of the builder and GPU that they are of. */
export type PinnedTimings = Readonly<Record<string, string>>;

/**
 * Kernel times of TensorRT, shared by the builds of one builder on one kind of GPU. A build works on a copy, which takes
 * the place of the shared file afterwards, so that builds side by side never write into one. Pinned ones are read and not
 * written: the same times choose the same kernels. TensorRT-RTX times nothing and has none.
 */
export class TimingCaches {
  readonly #cache: Cache;
  readonly #pinned: PinnedTimings | undefined;

  constructor(cache: Cache, pinned?: PinnedTimings) {
    this.#cache = cache;
    this.#pinned = pinned;
  }

  /** Undefined where kernels are not timed. */
  nameOf({ build }: Pick<Cell, "build">, builder: BuilderIdentity | null): string | undefined {
    if (build.backend !== "tensorrt" || builder === null) return undefined;
    return build.timing_cache === undefined ? fingerprint(builder).slice(0, 16) : resolve(build.timing_cache);
  }

  /** A copy at `target`, which stays absent where there are no times yet. Errors: MTX016. */
  async take(name: string, target: string): Promise<void> {
    const sha256 = this.#pinned?.[name];
    const source = sha256 === undefined ? this.#fileOf(name) : this.#pinnedFile(sha256);
    await copyFile(source, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw asOutputProblem(target, error);
      if (sha256 !== undefined) fail(missing(source));
    });
  }

  /** What a build has made of its copy is for the next ones. */
  async give(name: string, source: string): Promise<void> {
    if (this.#pinned !== undefined) return;
    const file = this.#fileOf(name);
    const aside = `${file}.${randomUUID()}.partial`;
    await mkdir(dirname(file), { recursive: true });
    try {
      await copyFile(source, aside);
      await rename(aside, file);
    } catch (error) {
      await rm(aside, { force: true });
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw asOutputProblem(file, error);
    }
  }

  /** Keeps the caches as they are now under their hashes, for a lockfile. */
  async pin(names: Iterable<string>): Promise<PinnedTimings> {
    const pinned: Record<string, string> = {};
    for (const name of new Set(names)) {
      const file = this.#fileOf(name);
      const found = await this.#cache.memo.hashOwn(file);
      if (found === undefined) continue;
      const kept = this.#pinnedFile(found.sha256);
      await mkdir(dirname(kept), { recursive: true });
      // A link: the shared file is replaced and never written into.
      await link(file, kept).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") await copyFile(file, kept);
      });
      pinned[name] = found.sha256;
    }
    return pinned;
  }

  /** A path of the user's, or a name in the cache. */
  #fileOf(name: string): string {
    return name.includes("/") ? name : join(this.#cache.dir, "timing", `${name}.cache`);
  }

  #pinnedFile(sha256: string): string {
    return join(this.#cache.dir, "timing", "pinned", sha256);
  }
}

function missing(file: string): Parameters<typeof fail>[0] {
  return {
    code: "MTX016",
    what: `${file} is missing: the timing cache of the locked build`,
    at: file,
    why: "other times of kernels would choose other kernels, and another engine",
    fix: "restore the cache directory, or run without --frozen",
  };
}
