import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** A repository of the stand-in; files of more than `lfsFrom` bytes lie on its storage server, as on the Hub. */
export interface StandInRepo {
  readonly commit: string;
  /** Branches and tags. */
  readonly refs?: Readonly<Record<string, string>>;
  readonly files: Readonly<Record<string, Uint8Array>>;
  /** Who may see it; everybody without one. */
  readonly token?: string;
  readonly gated?: boolean;
}

export interface Seen {
  readonly server: "hub" | "storage";
  readonly path: string;
  readonly range: string | undefined;
  readonly token: string | undefined;
}

/** What goes wrong with the next answers about a path; each is used once. */
export interface Fault {
  /** Part of the path. */
  readonly on: string;
  /** The connection is cut after so many bytes of the body. */
  readonly cutAfter?: number;
  readonly status?: number;
  /** Nothing comes after the headers and so many bytes. */
  readonly stallAfter?: number;
  /** One bit of the body is another. */
  readonly flip?: boolean;
  /** The range asked for is not heeded. */
  readonly whole?: boolean;
  readonly body?: string;
}

const LFS_FROM = 1000;

/**
 * The Hugging Face Hub on 127.0.0.1, as far as a download needs it: two servers, since the real one sends large files from
 * another host. Answers are as the Hub's in September 2026: paged listings, LFS hashes, X-Error-Code, redirects, ranges.
 */
export class HubStandIn {
  readonly repos = new Map<string, StandInRepo>();
  readonly seen: Seen[] = [];
  readonly faults: Fault[] = [];
  /** Entries of a listing on one page. */
  pageSize = 1000;
  readonly #hub: Server;
  readonly #storage: Server;

  private constructor() {
    this.#hub = createServer((request, response) => this.#onHub(request, response));
    this.#storage = createServer((request, response) => this.#onStorage(request, response));
  }

  static async start(): Promise<HubStandIn> {
    const hub = new HubStandIn();
    for (const server of [hub.#hub, hub.#storage])
      await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve));
    return hub;
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    }
  }

  get endpoint(): string {
    return originOf(this.#hub);
  }

  /** Paths of files that were asked for since the last call, and listings. */
  takeSeen(): readonly Seen[] {
    return this.seen.splice(0);
  }

  #note(server: Seen["server"], { url = "", headers }: IncomingMessage): Fault | undefined {
    this.seen.push({ server, path: url, range: headers.range, token: headers.authorization });
    const at = this.faults.findIndex(({ on }) => url.includes(on));
    return at < 0 ? undefined : this.faults.splice(at, 1)[0];
  }

  #onHub(request: IncomingMessage, response: ServerResponse): void {
    const fault = this.#note("hub", request);
    if (fault?.status !== undefined) refuse(response, fault.status);
    else if (fault?.body !== undefined) response.setHeader("content-type", "application/json").end(fault.body);
    else this.#answer(request, response, fault);
  }

  #answer(request: IncomingMessage, response: ServerResponse, fault: Fault | undefined): void {
    const { pathname, searchParams } = new URL(request.url ?? "", this.endpoint);
    const path = decodeURIComponent(pathname);
    const [, repo = "", verb, rest = ""] =
      /^\/(?:api\/models\/)?((?:[^/]+\/)?[^/]+)\/(revision|tree|resolve)\/(.*)$/.exec(path) ?? [];
    const found = this.repos.get(repo);
    const allowed = found?.token === undefined || request.headers.authorization === `Bearer ${found.token}`;
    if (found === undefined || (!allowed && !found.gated))
      refuse(response, request.headers.authorization === undefined ? 401 : 404, "RepoNotFound");
    else if (verb === "revision") this.#revision(response, repo, found, rest);
    else if (verb === "tree") this.#tree(response, repo, found, rest, searchParams);
    else if (!allowed) refuse(response, 403, "GatedRepo", `Access to model ${repo} is restricted.`);
    else this.#resolve(request, response, found, rest, fault);
  }

  #revision(response: ServerResponse, repo: string, found: StandInRepo, revision: string): void {
    const sha = commitOf(found, revision);
    if (sha === undefined) {
      refuse(response, 404, "RevisionNotFound", `Invalid rev id: ${revision}`);
      return;
    }
    const facts = {
      _id: "0",
      id: repo,
      private: false,
      gated: false,
      downloads: 1,
      likes: 0,
      lastModified: "2026-09-01T00:00:00.000Z",
    };
    const siblings = Object.keys(found.files).map(rfilename => ({ rfilename }));
    response.setHeader("content-type", "application/json").end(JSON.stringify({ ...facts, sha, siblings }));
  }

  #tree(response: ServerResponse, repo: string, found: StandInRepo, revision: string, query: URLSearchParams): void {
    if (commitOf(found, revision) === undefined) {
      refuse(response, 404, "RevisionNotFound");
      return;
    }
    const folders = new Set(Object.keys(found.files).flatMap(name => (name.includes("/") ? [name.split("/")[0]] : [])));
    const all = [
      ...[...folders].map(path => ({ type: "directory", oid: "0".repeat(40), size: 0, path })),
      ...Object.entries(found.files).map(([path, bytes]) => entryOf(path, bytes)),
    ];
    const from = Number(query.get("cursor") ?? 0);
    const next = from + this.pageSize;
    if (next < all.length) {
      const url = `${this.endpoint}/api/models/${repo}/tree/${revision}?recursive=true&cursor=${next}`;
      response.setHeader("link", `<${url}>; rel="next"`);
    }
    response.setHeader("content-type", "application/json").end(JSON.stringify(all.slice(from, next)));
  }

  #resolve(
    request: IncomingMessage,
    response: ServerResponse,
    found: StandInRepo,
    rest: string,
    fault: Fault | undefined,
  ): void {
    const [revision = "", ...name] = rest.split("/");
    const bytes = found.files[name.join("/")];
    const commit = commitOf(found, revision);
    if (bytes === undefined || commit === undefined) {
      refuse(response, 404, "EntryNotFound");
      return;
    }
    response.setHeader("x-repo-commit", commit);
    if (bytes.byteLength < LFS_FROM) {
      response.setHeader("etag", `"${gitHash(bytes)}"`);
      send(request, response, bytes, fault);
      return;
    }
    const sha = sha256(bytes);
    response.setHeader("x-linked-etag", `"${sha}"`).setHeader("x-linked-size", bytes.byteLength);
    response.writeHead(302, { location: `${originOf(this.#storage)}/store/${sha}` }).end();
  }

  #onStorage(request: IncomingMessage, response: ServerResponse): void {
    const fault = this.#note("storage", request);
    const sha = (request.url ?? "").split("/").at(-1);
    const bytes = [...this.repos.values()].flatMap(({ files }) => Object.values(files)).find(b => sha256(b) === sha);
    if (fault?.status !== undefined || bytes === undefined) refuse(response, fault?.status ?? 404);
    else send(request, response, bytes, fault);
  }
}

/** The files of a directory of this repository, as a Hub repository. */
export function repoOf(dir: string, commit: string, keep: (name: string) => boolean = () => true): StandInRepo {
  const names = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .filter(keep);
  const files = Object.fromEntries(names.map(name => [name, new Uint8Array(readFileSync(join(dir, name)))]));
  return { commit, refs: { main: commit }, files };
}

function send(request: IncomingMessage, response: ServerResponse, whole: Uint8Array, fault: Fault | undefined): void {
  const [, start] = /^bytes=(\d+)-/.exec(request.headers.range ?? "") ?? [];
  const from = start === undefined || fault?.whole === true ? 0 : Number(start);
  const body = Buffer.from(whole.subarray(from));
  const flipped = body.length - 1;
  if (fault?.flip === true) body[flipped] = (body[flipped] ?? 0) ^ 1;
  response.setHeader("content-length", body.length);
  if (from > 0) {
    response.setHeader("content-range", `bytes ${from}-${whole.byteLength - 1}/${whole.byteLength}`);
    response.statusCode = 206;
  }
  const part = fault?.cutAfter ?? fault?.stallAfter;
  if (request.method === "HEAD" || part === undefined) {
    response.end(request.method === "HEAD" ? undefined : body);
    return;
  }
  response.write(body.subarray(0, part), () => {
    // The bytes before are on their way; the rest never comes.
    if (fault?.cutAfter !== undefined) setImmediate(() => response.socket?.end(() => response.destroy()));
  });
}

function refuse(response: ServerResponse, status: number, code = "", message = ""): void {
  response.writeHead(status, { "x-error-code": code, "x-error-message": message }).end();
}

function commitOf({ commit, refs = {} }: StandInRepo, revision: string): string | undefined {
  return revision === commit ? commit : refs[revision];
}

function entryOf(path: string, bytes: Uint8Array): object {
  const entry = { type: "file", oid: gitHash(bytes), size: bytes.byteLength, path };
  if (bytes.byteLength < LFS_FROM) return entry;
  return { ...entry, lfs: { oid: sha256(bytes), size: bytes.byteLength, pointerSize: 133 } };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What `git hash-object` prints. */
export function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.byteLength}\0`).update(bytes).digest("hex");
}

function originOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
