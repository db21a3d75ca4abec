import { stat } from "node:fs/promises";
import { join } from "node:path";
import { bytesOfEntry, ENTRY_FILE, type Entry, FILES_DIR, readEntry, STEP_KINDS, type StepKind } from "./entry.ts";
import { namesIn } from "./files.ts";
import type { Cache } from "./store.ts";

/** One result in the cache, with when it was last used. */
export interface Listed {
  readonly kind: StepKind;
  readonly key: string;
  readonly bytes: number;
  /** Milliseconds since 1970. */
  readonly used: number;
  /** Undefined when `entry.json` cannot be used; `reason` says why. */
  readonly entry: Entry | undefined;
  readonly reason: string | undefined;
}

/** A result that a run has just found must not go before that run has linked it. */
const IN_USE_MS = 3_600_000;

/** Every result, the one used longest ago first. */
export async function listEntries(cache: Cache): Promise<readonly Listed[]> {
  const listed: Listed[] = [];
  for (const kind of STEP_KINDS) {
    for (const prefix of await namesIn(join(cache.dir, "steps", kind))) {
      for (const key of await namesIn(join(cache.dir, "steps", kind, prefix))) {
        const dir = join(cache.dir, "steps", kind, prefix, key);
        const info = await stat(join(dir, ENTRY_FILE)).catch(() => undefined);
        const read = await readEntry(dir, kind, key);
        const entry = typeof read === "string" ? undefined : read;
        const reason = typeof read === "string" ? read : undefined;
        listed.push({ kind, key, bytes: entry ? bytesOfEntry(entry) : 0, used: info?.mtimeMs ?? 0, entry, reason });
      }
    }
  }
  return listed.sort((a, b) => a.used - b.used);
}

export interface Keep {
  readonly maxBytes?: number;
  readonly maxAgeMs?: number;
}

/**
 * Removes results by age, then the ones used longest ago until the rest fits. What was used within the last hour stays, and
 * what is being made: its lock is held. Hard links keep bytes alive that an engine directory still has.
 */
export async function collect(cache: Cache, keep: Keep, now: number = Date.now()): Promise<readonly Listed[]> {
  const all = await listEntries(cache);
  let size = all.reduce((sum, { bytes }) => sum + bytes, 0);
  const removed: Listed[] = [];
  for (const one of all) {
    const tooOld = keep.maxAgeMs !== undefined && now - one.used > keep.maxAgeMs;
    const tooMuch = keep.maxBytes !== undefined && size > keep.maxBytes;
    const useless = one.entry === undefined;
    if (!(tooOld || tooMuch || useless) || (!useless && now - one.used < IN_USE_MS)) continue;
    const lock = await cache.locks.tryAcquire(`${one.kind}-${one.key}`);
    if (!("release" in lock)) continue;
    try {
      await cache.remove(one.kind, one.key);
    } finally {
      await lock.release();
    }
    size -= one.bytes;
    removed.push(one);
  }
  return removed;
}

export interface Verified {
  readonly entries: number;
  readonly bytes: number;
  readonly damaged: readonly { readonly kind: StepKind; readonly key: string; readonly reason: string }[];
}

/** Reads every byte of every result, whatever the memo says. */
export async function verifyEntries(
  cache: Cache,
  options: { readonly repair: boolean; readonly signal: AbortSignal; onEntry(done: number, total: number): void },
): Promise<Verified> {
  const all = await listEntries(cache);
  const damaged: { kind: StepKind; key: string; reason: string }[] = [];
  for (const [i, { kind, key, entry, reason }] of all.entries()) {
    options.signal.throwIfAborted();
    const found = reason ?? (await damageOf(cache, kind, key, entry, options.signal));
    if (found !== undefined) {
      damaged.push({ kind, key, reason: found });
      if (options.repair) await cache.remove(kind, key);
    }
    options.onEntry(i + 1, all.length);
  }
  return { entries: all.length, bytes: all.reduce((sum, { bytes }) => sum + bytes, 0), damaged };
}

async function damageOf(
  cache: Cache,
  kind: StepKind,
  key: string,
  entry: Entry | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const dir = join(cache.dir, "steps", kind, key.slice(0, 2), key, FILES_DIR);
  for (const { path, size, sha256 } of entry?.files ?? []) {
    const found = await cache.memo.hashOwn(join(dir, path), signal);
    if (found === undefined) return `${path} is missing`;
    if (found.size !== size || found.sha256 !== sha256) return `${path} has other bytes than were written`;
  }
  return undefined;
}
