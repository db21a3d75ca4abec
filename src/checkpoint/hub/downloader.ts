import { mkdir, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { readJsonObject } from "../../formats/json.ts";
import { asOutputProblem } from "../files.ts";
import type { RemoteFile, Repository } from "./api.ts";
import type { RepoCache } from "./cache.ts";
import { HubHttp } from "./http.ts";
import { dropAbandoned, withLock } from "./lock.ts";
import { type HubName, shownName } from "./name.ts";
import { type Asked, needsPickle, noSpace, unusable } from "./problems.ts";
import type { HubRequest, Snapshot, Survey } from "./request.ts";
import { type Listing, type Selection, selectFiles } from "./select.ts";
import { fetchBlob } from "./transfer.ts";

/** Connections at once: one alone rarely fills a line, more bring nothing. */
const PARALLEL = 4;
/** Largest index or config that is read, as of any JSON file; it is fetched before the disk is looked at. */
const MAX_JSON = 100 << 20;
/** Bytes between two reports of progress, so that a bar moves on slow lines too. */
const MAX_STEP = 8 << 20;

export function pickleWarnings(name: HubName, { pickle, weights }: Selection): readonly Problem[] {
  return pickle ? [needsPickle(name, weights[0] ?? "")] : [];
}

/** The files of one revision, on their way into the cache. */
export class Downloader {
  readonly #request: HubRequest;
  readonly #cache: RepoCache;
  readonly #repository: Repository;
  /** Bytes of this run; undefined while only small files are looked into. */
  #progress: { done: number; total: number } | undefined;
  /** Bytes at the last time that they were shown. */
  #shown = 0;

  constructor(request: HubRequest, cache: RepoCache, repository: Repository) {
    this.#request = request;
    this.#cache = cache;
    this.#repository = repository;
  }

  async run(): Promise<Snapshot> {
    const { name } = this.#request;
    const { commit } = this.#repository;
    const dir = this.#cache.snapshot(commit);
    const selection = await this.#select();
    const wanted = [...selection.small, ...selection.weights];
    const total = await this.#needSpace(wanted);
    if (total > 0) this.#progress = { done: 0, total };
    await this.#fetch(wanted);
    this.#end();
    const revision = name.revision ?? "main";
    await this.#cache.rememberCommit(revision, commit);
    return { repo: name.repo, revision, commit, dir, warnings: pickleWarnings(name, selection) };
  }

  async survey(): Promise<Survey> {
    const { name } = this.#request;
    const { commit, files } = this.#repository;
    const selection = await this.#select();
    const names = [...selection.small, ...selection.weights];
    const wanted = new Set(names);
    const absent = await this.#missing(names);
    const etags = new Set(absent.map(({ file }) => file.etag));
    const surveyed = [...files.values()].map(async ({ name: file, size, etag }) => ({
      name: file,
      size,
      wanted: wanted.has(file),
      cached: wanted.has(file) ? !etags.has(etag) : await this.#cache.has(etag, size),
    }));
    return {
      repo: name.repo,
      revision: name.revision ?? "main",
      commit,
      files: await Promise.all(surveyed),
      missing: absent.reduce((sum, { left }) => sum + left, 0),
      warnings: pickleWarnings(name, selection),
    };
  }

  #select(): Promise<Selection> {
    const { name, configOnly = false } = this.#request;
    const { commit, files } = this.#repository;
    const listing: Listing = {
      at: shownName(name),
      names: new Set(files.keys()),
      json: async file => {
        if (this.#file(file).size > MAX_JSON)
          fail(unusable(this.#asked(file), `${file} has more than ${MAX_JSON >> 20} MB`));
        await this.#fetch([file]);
        return readJsonObject(join(this.#cache.snapshot(commit), file));
      },
    };
    return selectFiles(listing, configOnly);
  }

  /** Before the first large byte; gives the bytes to come. Errors: HUB006. */
  async #needSpace(names: readonly string[]): Promise<number> {
    const { settings } = this.#request;
    const needed = (await this.#missing(names)).reduce((sum, { left }) => sum + left, 0);
    if (needed === 0) return 0;
    const free = await statfs(this.#cache.dir).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => Number.POSITIVE_INFINITY,
    );
    if (free < needed) fail(noSpace({ ...this.#request, settings }, needed, free));
    return needed;
  }

  /** Files whose bytes are not in the cache, each blob once, with the bytes still to come. */
  async #missing(names: readonly string[]): Promise<readonly { readonly file: RemoteFile; readonly left: number }[]> {
    const blobs = new Map(names.map(name => this.#file(name)).map(file => [file.etag, file]));
    const missing: { file: RemoteFile; left: number }[] = [];
    for (const file of blobs.values()) {
      if (await this.#cache.has(file.etag, file.size)) continue;
      const partial = await this.#cache.partialSize(file.etag);
      missing.push({ file, left: partial > file.size ? file.size : file.size - partial });
    }
    return missing;
  }

  #file(name: string): RemoteFile {
    const file = this.#repository.files.get(name);
    if (file === undefined) throw new Error(`${name} was selected and is not listed`);
    return file;
  }

  async #fetch(names: readonly string[]): Promise<void> {
    const blobs = join(this.#cache.dir, "blobs");
    await mkdir(blobs, { recursive: true }).catch((error: unknown) => {
      throw asOutputProblem(blobs, error);
    });
    const queue = [...(await this.#missing(names))];
    const failure = new AbortController();
    const signal = AbortSignal.any([this.#request.signal, failure.signal]);
    const worker = async (): Promise<void> => {
      for (let item = queue.shift(); item !== undefined && !signal.aborted; item = queue.shift()) {
        await this.#fetchOne(item.file, signal);
      }
    };
    const ends = await Promise.allSettled(
      Array.from({ length: PARALLEL }, () =>
        worker().catch((error: unknown) => {
          failure.abort();
          throw error;
        }),
      ),
    );
    this.#request.signal.throwIfAborted();
    const errors = ends.flatMap(end => (end.status === "rejected" ? [end.reason as unknown] : []));
    const first = errors.find(error => error instanceof MmtrtError) ?? errors[0];
    if (first !== undefined) throw first;
    for (const name of names) {
      const { etag } = this.#file(name);
      await this.#cache.link(this.#repository.commit, name, etag);
      await dropAbandoned(`${this.#cache.blob(etag)}.lock`);
    }
  }

  #asked(file: string): Asked {
    const { settings, name } = this.#request;
    const path = file.split("/").map(encodeURIComponent).join("/");
    return { name, settings, url: `${settings.endpoint}/${name.repo}/resolve/${this.#repository.commit}/${path}` };
  }

  async #fetchOne(file: RemoteFile, signal: AbortSignal): Promise<void> {
    const { onWait, pause = wait } = this.#request;
    const { settings, name, url } = this.#asked(file.name);
    const blob = this.#cache.blob(file.etag);
    await withLock(`${blob}.lock`, { signal, pause, onWait: () => onWait?.(file.name) }, async () => {
      // Somebody else may have finished it while this process waited.
      if (await this.#cache.has(file.etag, file.size)) {
        await rm(`${blob}.partial`, { force: true });
        return;
      }
      const http = new HubHttp(name, settings, signal, pause);
      await fetchBlob(file, url, blob, { name, settings, http, signal, pause, onBytes: n => this.#advance(n) });
    });
  }

  /** Bytes to be fetched once more are more to do, not less that was done. */
  #advance(bytes: number): void {
    if (this.#progress === undefined) return;
    if (bytes < 0) this.#progress.total -= bytes;
    else this.#progress.done += bytes;
    this.#show();
  }

  /** What another process fetched in the meantime is done as well. */
  #end(): void {
    if (this.#progress === undefined || this.#progress.done >= this.#progress.total) return;
    this.#progress.done = this.#progress.total;
    this.#show();
  }

  /** With --json each is a line: two hundred for a small model, some thousand for a large one. */
  #show(): void {
    if (this.#progress === undefined) return;
    const { done, total } = this.#progress;
    if (done < total && done - this.#shown < Math.min(total / 200, MAX_STEP)) return;
    this.#shown = done;
    this.#request.onProgress?.({ label: `downloading ${this.#request.name.repo}`, ...this.#progress });
  }
}

export function wait(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal });
}
