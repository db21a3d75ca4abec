import { randomUUID } from "node:crypto";
import { mkdir, open, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { asOutputProblem } from "../../checkpoint/files.ts";
import { fail, MmtrtError } from "../../diagnostics/index.ts";
import { type JsonObject, readJsonObject } from "../../formats/json.ts";
import { fingerprint, sortedJson } from "../fingerprint.ts";
import { ENTRY_FILE, type Entry, type EntryFile, encodeEntry, FILES_DIR, readEntry, type StepKind } from "./entry.ts";
import { filesBelow, namesIn, writeWhole } from "./files.ts";
import { type Owner, stateOf, thisOwner } from "./host.ts";
import { Locks, type LockTimes } from "./locks.ts";
import { HashMemo } from "./memo.ts";

const FORMAT_FILE = "format.json";
/** An entry's last use is written at most this often: a warm run should not write. */
const USED_MS = 3_600_000;
/** A run of many hours says this often that its results are in use, or somebody's gc would take them for old. */
const STILL_USED_MS = 20 * 60_000;
/** A stage of another machine, whose processes cannot be seen, is removed when it is this old. */
const FOREIGN_STAGE_MS = 7 * 24 * 3_600_000;

export interface StepKey {
  readonly kind: StepKind;
  readonly key: string;
  readonly inputs: JsonObject;
}

/** Sorted JSON of everything that decides the result, hashed. `undefined` values are as if absent. */
export function stepKey(kind: StepKind, inputs: object): StepKey {
  const plain = JSON.parse(sortedJson({ kind, ...inputs })) as JsonObject;
  return { kind, key: fingerprint(plain), inputs: plain };
}

export interface Found {
  readonly entry: Entry;
  /** Where its files are. */
  readonly dir: string;
}

export type Lookup = ({ readonly state: "found" } & Found) | { readonly state: "absent" } | Damaged;

export interface Damaged {
  readonly state: "damaged";
  readonly reason: string;
}

/** Where a step writes before its result has a name. */
export interface Stage {
  readonly dir: string;
  /** What is published. */
  readonly files: string;
}

/**
 * Results of steps in a plain directory, by the hash of what they were made of. A result is written aside and renamed, so
 * it is there whole or not at all; it is used only when every file has the size and hash that it was written with.
 *
 *     format.json   steps/KIND/ab/KEY/{entry.json, files/…}   locks/KEY.lock   stages/…   memo/HOST.json   timing/…
 */
export class Cache {
  readonly dir: string;
  readonly memo: HashMemo;
  readonly locks: Locks;

  /** `entry.json` of every result that this process has found or made. */
  readonly #inUse = new Set<string>();
  readonly #beat: NodeJS.Timeout;

  private constructor(dir: string, memo: HashMemo, locks: Locks) {
    this.dir = dir;
    this.memo = memo;
    this.locks = locks;
    this.#beat = setInterval(() => this.#stillUsed(), STILL_USED_MS);
    this.#beat.unref();
  }

  /** Made where it is missing. Errors: MTX007, CKP009. */
  static async open(dir: string, times?: LockTimes): Promise<Cache> {
    await claim(dir);
    const memo = await HashMemo.load(join(dir, "memo", `${hostname().replaceAll(/[^\w.-]/g, "_")}.json`));
    const cache = new Cache(dir, memo, new Locks(join(dir, "locks"), times));
    await cache.#sweepStages();
    return cache;
  }

  /** A result that is whole. Damaged ones are as good as absent, but worth a word. */
  async find({ kind, key }: Pick<StepKey, "kind" | "key">, signal?: AbortSignal): Promise<Lookup> {
    const dir = this.#dirOf(kind, key);
    const entry = await readEntry(dir, kind, key);
    if (typeof entry === "string")
      return entry === "absent" ? { state: "absent" } : { state: "damaged", reason: entry };
    const files = join(dir, FILES_DIR);
    const reason = await this.damageOf(entry.files, files, signal);
    if (reason !== undefined) return { state: "damaged", reason };
    this.#inUse.add(join(dir, ENTRY_FILE));
    await touch(join(dir, ENTRY_FILE));
    return { state: "found", entry, dir: files };
  }

  /** In words what is wrong with the first file that is not as it was written. */
  async damageOf(files: readonly EntryFile[], dir: string, signal?: AbortSignal): Promise<string | undefined> {
    for (const { path, size, sha256 } of files) {
      const found = await this.memo.hash(join(dir, path), signal);
      if (found === undefined) return `${path} is missing`;
      if (found.size !== size) return `${path} has ${found.size} bytes instead of ${size}`;
      if (found.sha256 !== sha256) return `${path} has other bytes than were written`;
    }
    return undefined;
  }

  /** A directory of this process alone, on the file system of the results. */
  async stage(): Promise<Stage> {
    const dir = join(this.dir, "stages", stageName(await thisOwner()));
    const files = join(dir, FILES_DIR);
    try {
      await mkdir(files, { recursive: true });
    } catch (error) {
      throw asOutputProblem(dir, error);
    }
    return { dir, files };
  }

  async discard({ dir }: Stage): Promise<void> {
    await rm(dir, { recursive: true, force: true });
  }

  /** Gives a stage's files their name. Where another process was faster its result stays: the same key is the same result. */
  async publish(
    { kind, key, inputs }: StepKey,
    stage: Stage,
    made: Pick<Entry, "facts" | "seconds" | "peak_bytes">,
    signal?: AbortSignal,
  ): Promise<Found> {
    const files = await this.hashTree(stage.files, "own", signal);
    const entry: Entry = { format: 1, kind, key, inputs, files, ...made };
    await writeWhole(join(stage.dir, ENTRY_FILE), encodeEntry(entry));
    await syncTree(stage.files, files);
    const dir = this.#dirOf(kind, key);
    const own = join(dir, FILES_DIR);
    for (let attempt = 0; ; attempt++) {
      if (await moveTo(stage.dir, dir)) break;
      const other = await this.find({ kind, key }, signal);
      if (other.state === "found") {
        await this.discard(stage);
        return other;
      }
      if (attempt === 2) throw new Error(`${dir} is damaged and cannot be removed`);
      await this.remove(kind, key);
    }
    this.#inUse.add(join(dir, ENTRY_FILE));
    return { entry, dir: own };
  }

  /** Every file below `dir`. `own`: written by this process a moment ago, so that the memo knows nothing of them yet. */
  async hashTree(dir: string, how: "own" | "linked", signal?: AbortSignal): Promise<readonly EntryFile[]> {
    const hashed: EntryFile[] = [];
    for (const path of await filesBelow(dir)) {
      const file = join(dir, path);
      const found = how === "own" ? await this.memo.hashOwn(file, signal) : await this.memo.hash(file, signal);
      if (found === undefined) throw new Error(`${file} is no file`);
      hashed.push({ path, ...found });
    }
    return hashed;
  }

  /** Moved aside first: half an entry must never stand under its name. */
  async remove(kind: StepKind, key: string): Promise<void> {
    const stage = await this.stage();
    await rename(this.#dirOf(kind, key), join(stage.dir, "removed")).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw asOutputProblem(this.#dirOf(kind, key), error);
    });
    await this.discard(stage);
  }

  async close(): Promise<void> {
    clearInterval(this.#beat);
    // A memo that cannot be written costs time at the next run, and nothing at this one.
    await this.memo.save().catch((error: unknown) => {
      if (!(error instanceof MmtrtError)) throw error;
    });
  }

  #stillUsed(): void {
    const now = new Date();
    for (const file of this.#inUse) utimes(file, now, now).catch(() => undefined);
  }

  #dirOf(kind: StepKind, key: string): string {
    return join(this.dir, "steps", kind, key.slice(0, 2), key);
  }

  /** What killed processes of this machine left, and what other machines have long forgotten. */
  async #sweepStages(): Promise<void> {
    const root = join(this.dir, "stages");
    for (const name of await namesIn(root)) {
      const dir = join(root, name);
      if (await isAbandoned(dir)) await rm(dir, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

/** Whose it is stands in the name: a file in it would be missing for a moment, in which a process can be killed. */
export function stageName({ host, pid, started }: Owner): string {
  return `${fingerprint(host).slice(0, 16)}.${pid}.${started}.${randomUUID()}`;
}

async function isAbandoned(dir: string): Promise<boolean> {
  const own = await thisOwner();
  const [, host, pid, started = ""] = /^([0-9a-f]{16})\.(\d+)\.(\d*)\./.exec(basename(dir)) ?? [];
  if (host === fingerprint(own.host).slice(0, 16))
    return (await stateOf({ host: own.host, pid: Number(pid), started })) === "gone";
  const info = await stat(dir).catch(() => undefined);
  return info !== undefined && Date.now() - info.mtimeMs > FOREIGN_STAGE_MS;
}

async function claim(dir: string): Promise<void> {
  const names = await namesIn(dir);
  const file = join(dir, FORMAT_FILE);
  if (names.includes(FORMAT_FILE)) {
    const { kind, format } = await readJsonObject(file, { maxBytes: 4096 });
    if (kind === "mmtrt-cache" && format === 1) return;
    fail(notOurs(dir, `${FORMAT_FILE} says kind ${JSON.stringify(kind)}, format ${JSON.stringify(format)}`));
  }
  // Another process may be making it at this moment.
  const foreign = names.filter(name => !/^format\.json\..*\.partial$/.test(name));
  if (foreign.length > 0) fail(notOurs(dir, `it holds ${foreign.slice(0, 3).join(", ")}`));
  await writeWhole(file, `${JSON.stringify({ kind: "mmtrt-cache", format: 1 })}\n`);
}

function notOurs(dir: string, reason: string): Parameters<typeof fail>[0] {
  return {
    code: "MTX007",
    what: `${dir} is not a cache of this version: ${reason}`,
    at: `${dir} (cache_dir)`,
    why: "a cache removes what it takes for its own",
    fix: "give another directory, or remove this one if nothing in it is needed",
  };
}

/** False when something has the name already. */
async function moveTo(from: string, to: string): Promise<boolean> {
  try {
    await mkdir(dirname(to), { recursive: true });
    await rename(from, to);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTEMPTY" || code === "EEXIST") return false;
    throw asOutputProblem(to, error);
  }
}

/** A machine that loses power must not come back with an entry whose files are empty. */
async function syncTree(dir: string, files: readonly EntryFile[]): Promise<void> {
  for (const { path } of files) {
    const handle = await open(join(dir, path), "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}

async function touch(file: string): Promise<void> {
  const info = await stat(file).catch(() => undefined);
  const now = new Date();
  if (info === undefined || now.getTime() - info.mtimeMs < USED_MS) return;
  // A cache that may only be read can still be used.
  await utimes(file, now, now).catch(() => undefined);
}
