import { fail } from "../../diagnostics/index.ts";
import { COMMIT } from "./cache.ts";
import type { HubHttp } from "./http.ts";
import type { HubName } from "./name.ts";
import { unusable } from "./problems.ts";
import type { HubSettings } from "./settings.ts";

/** A file of a repository, as the Hub lists it. */
export interface RemoteFile {
  /** Relative, with slashes. */
  readonly name: string;
  readonly size: number;
  /** Name of its blob in the cache: `sha256` of a large file, git's SHA-1 of a small one. */
  readonly etag: string;
  readonly hash: "sha256" | "git";
}

export interface Repository {
  readonly commit: string;
  readonly files: ReadonlyMap<string, RemoteFile>;
}

/** The largest repositories have some thousand files. */
const MAX_FILES = 100_000;
const SHA256 = /^[0-9a-f]{64}$/;
const SHA1 = /^[0-9a-f]{40}$/;

/** Commit and files of a revision. Errors: HUB001–HUB003, HUB007. */
export async function readRepository(name: HubName, settings: HubSettings, http: HubHttp): Promise<Repository> {
  const { modelInfo } = await import("./package.ts");
  const common = {
    hubUrl: settings.endpoint,
    fetch: http.api,
    ...(settings.token !== undefined && { accessToken: settings.token }),
  };
  const revision = name.revision ?? "main";
  const asked = { name, settings, url: `${settings.endpoint}/api/models/${name.repo}` };
  const reading = async (): Promise<Repository> => {
    const commit = COMMIT.test(revision)
      ? revision
      : (await modelInfo({ ...common, name: name.repo, revision, additionalFields: ["sha"] })).sha;
    if (typeof commit !== "string" || !COMMIT.test(commit)) fail(unusable(asked, "it names no commit"));
    return { commit, files: await listRepository(name, commit, common, message => fail(unusable(asked, message))) };
  };
  return reading().catch((error: unknown) => {
    // The package parses without checking: text that is no JSON, or JSON that is no list.
    if (error instanceof SyntaxError || error instanceof TypeError) fail(unusable(asked, error.message));
    throw error;
  });
}

async function listRepository(
  name: HubName,
  commit: string,
  common: { readonly hubUrl: string; readonly fetch: HubHttp["api"]; readonly accessToken?: string },
  refuse: (message: string) => never,
): Promise<ReadonlyMap<string, RemoteFile>> {
  const { listFiles } = await import("./package.ts");
  const files = new Map<string, RemoteFile>();
  const listing = listFiles({ ...common, repo: { type: "model", name: name.repo }, revision: commit, recursive: true });
  for await (const entry of listing) {
    if (entry.type !== "file") continue;
    if (files.size >= MAX_FILES) refuse(`it lists more than ${MAX_FILES} files`);
    const { path, size, oid, lfs } = entry;
    // A name that leads elsewhere is never needed; an index that names it then names nothing.
    if (!isSafe(path)) continue;
    const [etag, bytes, hash] =
      lfs === undefined ? [oid, size, "git" as const] : [lfs.oid?.replace(/^sha256:/, ""), lfs.size, "sha256" as const];
    if (!Number.isSafeInteger(bytes) || bytes < 0 || !(hash === "git" ? SHA1 : SHA256).test(etag ?? ""))
      refuse(`it gives ${JSON.stringify(path)} no usable size and hash`);
    files.set(path, { name: path, size: bytes, etag: etag as string, hash });
  }
  return files;
}

/** A relative name whose parts all are names: it becomes a path on this disk. */
function isSafe(path: unknown): path is string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (typeof path !== "string" || path.length > 1024 || /[\u0000-\u001f\\:]/.test(path)) return false;
  return path.split("/").every(part => part !== "" && part !== "." && part !== "..");
}
