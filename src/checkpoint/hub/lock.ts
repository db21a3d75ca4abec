import { randomUUID } from "node:crypto";
import { open, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { smallText } from "../../formats/file.ts";
import { asOutputProblem } from "../files.ts";

const BEAT_MS = 10_000;
/** Well above the beat: a machine that swaps may miss a few. */
const STALE_MS = 120_000;
const LOOK_MS = 500;

export interface Waiting {
  readonly signal: AbortSignal;
  /** Called once, when somebody else has the lock. */
  onWait?(): void;
  pause(ms: number, signal: AbortSignal): Promise<void>;
}

/**
 * Holds `file` as a lock while `work` runs, so that two processes do not fetch the same bytes. A lock is abandoned when its
 * process is gone, or when nobody has touched it for two minutes. It saves work and no more: two that hold it at once write
 * the same bytes to the same places. Errors: CKP009.
 */
export async function withLock<T>(file: string, waiting: Waiting, work: () => Promise<T>): Promise<T> {
  for (let told = false; !(await take(file)); ) {
    if (await isAbandoned(file)) {
      await takeAway(file);
      continue;
    }
    if (!told) waiting.onWait?.();
    told = true;
    await waiting.pause(LOOK_MS, waiting.signal);
  }
  const beat = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), BEAT_MS);
  beat.unref();
  try {
    return await work();
  } finally {
    clearInterval(beat);
    await rm(file, { force: true });
  }
}

/** What a process left behind that was killed after its work and before it could clean up. */
export async function dropAbandoned(file: string): Promise<void> {
  if (await isAbandoned(file)) await takeAway(file);
}

async function take(file: string): Promise<boolean> {
  try {
    const handle = await open(file, "wx");
    await handle.writeFile(JSON.stringify({ host: hostname(), pid: process.pid }));
    await handle.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw asOutputProblem(file, error);
  }
}

async function isAbandoned(file: string): Promise<boolean> {
  const info = await stat(file).catch(() => undefined);
  if (info === undefined) return false;
  if (Date.now() - info.mtimeMs > STALE_MS) return true;
  const owner = parseOwner(await smallText(file));
  return owner?.host === hostname() && owner.pid !== process.pid && !isAlive(owner.pid);
}

/** By rename: of two that found it abandoned one takes it away, and the other looks again. */
async function takeAway(file: string): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
  await rename(file, aside).catch(() => undefined);
  await rm(aside, { force: true });
}

/** Undefined while it is being written. */
function parseOwner(text: string): { readonly host: string; readonly pid: number } | undefined {
  try {
    const { host, pid } = JSON.parse(text) as Record<string, unknown>;
    return typeof host === "string" && Number.isSafeInteger(pid) ? { host, pid: pid as number } : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
