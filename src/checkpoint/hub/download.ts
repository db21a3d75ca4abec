import { join } from "node:path";
import { fail, MmtrtError } from "../../diagnostics/index.ts";
import { readJsonObject } from "../../formats/json.ts";
import { readRepository } from "./api.ts";
import { COMMIT, RepoCache } from "./cache.ts";
import { Downloader, pickleWarnings, wait } from "./downloader.ts";
import { HubHttp } from "./http.ts";
import { fromCache, notCached } from "./problems.ts";
import type { HubRequest, Snapshot, Survey } from "./request.ts";
import { type Listing, selectFiles } from "./select.ts";

export type { HubProgress, HubRecord, HubRequest, Snapshot } from "./request.ts";

/**
 * The model's files in the cache, those fetched that are not there. Online the revision is looked up, so that a branch that
 * moved gives the new commit; without a network, or with HF_HUB_OFFLINE, what the cache holds has to do.
 * Errors: HUB001–HUB007, CKP009, CKP019 for a repository without a model.
 */
export async function download(request: HubRequest): Promise<Snapshot> {
  const cache = new RepoCache(request.settings.cacheDir, request.name.repo);
  if (request.settings.offline) return cached(request, cache);
  const http = new HubHttp(request.name, request.settings, request.signal, request.pause ?? wait);
  const repository = await readRepository(request.name, request.settings, http).catch((error: unknown) =>
    isUnreachable(error) ? error : Promise.reject(error),
  );
  if (repository instanceof MmtrtError) {
    const [reason] = repository.problems;
    const found = await cached(request, cache).catch(() => undefined);
    if (found === undefined || reason === undefined) throw repository;
    return COMMIT.test(found.revision)
      ? found
      : { ...found, warnings: [...found.warnings, fromCache(request.name, found.commit, reason)] };
  }
  return new Downloader(request, cache, repository).run();
}

/** What `download` would do; fetches config.json, and the index where there is one. Errors: as `download`. */
export async function survey(request: HubRequest): Promise<Survey> {
  const cache = new RepoCache(request.settings.cacheDir, request.name.repo);
  if (request.settings.offline) fail(notCached(request, "the list of its files is on the Hub alone"));
  const http = new HubHttp(request.name, request.settings, request.signal, request.pause ?? wait);
  const repository = await readRepository(request.name, request.settings, http);
  return new Downloader(request, cache, repository).survey();
}

function isUnreachable(error: unknown): error is MmtrtError {
  return error instanceof MmtrtError && error.problems.every(({ code }) => code === "HUB003");
}

/** The snapshot as it lies in the cache. Errors: HUB005. */
async function cached(request: HubRequest, cache: RepoCache): Promise<Snapshot> {
  const revision = request.name.revision ?? "main";
  const commit = await cache.commitOf(revision);
  if (commit === undefined) return fail(notCached(request, `it was never downloaded at ${revision}`));
  const dir = cache.snapshot(commit);
  const names = new Set(await cache.names(commit));
  const listing: Listing = { at: dir, names, json: name => readJsonObject(join(dir, name)) };
  const selection = await selectFiles(listing, request.configOnly === true).catch((error: unknown) =>
    fail(notCached(request, error instanceof MmtrtError ? (error.problems[0]?.what ?? "") : String(error))),
  );
  return { repo: request.name.repo, revision, commit, dir, warnings: pickleWarnings(request.name, selection) };
}
