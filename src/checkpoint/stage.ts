import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";

/** The process that writes into a stage: a directory whose content appears under its final name when it is whole. */
export interface StageOwner {
  readonly pid: number;
  readonly host: string;
}

export interface StageClaim {
  readonly stage: string;
  /**
   * "free" where nothing is, "abandoned" what a process left that is gone, whose owner file says `seen`. Throws the problem of a
   * stage that somebody writes into, or that is none.
   */
  look(): Promise<{ readonly state: "free" } | { readonly state: "abandoned"; readonly seen: string }>;
  /** What the owner file in `dir` says; empty without one. */
  seenIn(dir: string): Promise<string>;
  /** Makes what is in `dir` this process's: the owner file at least. */
  prepare(dir: string): Promise<void>;
}

/** Stages of this process: a number alone does not tell it from one before a restart of the container. */
const held = new Set<string>();
/** Of two that claim at once one loses at the first attempt and sees at the second who has it. */
const ATTEMPTS = 5;
/** Tells this process's directories from those of an earlier one of the same number. */
const RUN = randomUUID().slice(0, 8);
let claims = 0;

export function thisOwner(): StageOwner {
  return { pid: process.pid, host: hostname() };
}

/** A process of this machine that still lives; in another container or machine it cannot be seen and counts as gone. */
export function isRunning({ pid, host }: StageOwner, stage: string): boolean {
  if (host !== hostname() || pid <= 0) return false;
  if (pid === process.pid) return held.has(stage);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives and belongs to somebody else.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Makes the stage this process's, or throws. It is prepared under a name of its own and renamed, and so is one that is taken
 * over: of any number of processes that begin at once one has it, whole, and the others see whose it is.
 */
export async function claimStage(claim: StageClaim): Promise<void> {
  const { stage } = claim;
  const own = `${stage}.${process.pid}-${RUN}-${++claims}-${hostname()}`;
  await sweep(stage);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const look = await claim.look();
    if (look.state === "abandoned" && !(await takeAway(claim, own, look.seen))) continue;
    try {
      // Not recursively: Node calls a read-only file system ENOENT then.
      if (look.state === "free") await mkdir(own);
      await claim.prepare(own);
      await rename(own, stage);
      held.add(stage);
      return;
    } catch (error) {
      await rm(own, { recursive: true, force: true }).catch(() => undefined);
      if (!isTaken(error)) throw error;
    }
  }
  throw new Error(`${stage} is claimed again and again`);
}

/** Removes the stage unless it is another process's by now, and gives it up. */
export async function dropStage(stage: string, owner: StageOwner | undefined): Promise<void> {
  held.delete(stage);
  if (owner !== undefined && (owner.pid !== process.pid || owner.host !== hostname())) return;
  await rm(stage, { recursive: true, force: true }).catch(() => undefined);
}

/** The stage has its final name, or stays for the next run. */
export function releaseStage(stage: string): void {
  held.delete(stage);
}

/** Moved aside, and looked at again: another process may have been faster, and what was moved be its own by now. */
async function takeAway({ stage, seenIn }: StageClaim, own: string, seen: string): Promise<boolean> {
  const moved = await rename(stage, own).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return false;
      throw error;
    },
  );
  if (!moved) return false;
  if ((await seenIn(own)) === seen) return true;
  await rename(own, stage);
  return false;
}

function isTaken(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === "ENOTEMPTY" || code === "EEXIST";
}

/** What processes of this machine left that were killed while they claimed. */
async function sweep(stage: string): Promise<void> {
  const parent = dirname(stage);
  const prefix = `${basename(stage)}.`;
  const names = await readdir(parent).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const [, pid, run, host] = /^(\d+)-([0-9a-f]{8})-\d+-(.+)$/.exec(name.slice(prefix.length)) ?? [];
    if (host !== hostname() || run === RUN) continue;
    if (Number(pid) !== process.pid && isRunning({ pid: Number(pid), host }, stage)) continue;
    await rm(join(parent, name), { recursive: true, force: true }).catch(() => undefined);
  }
}
