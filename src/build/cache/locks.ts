import { randomUUID } from "node:crypto";
import { link, mkdir, open, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asOutputProblem } from "../../checkpoint/files.ts";
import { type Owner, readOwner, stateOf, thisOwner } from "./host.ts";

export interface LockTimes {
  /** A holder touches its lock this often. */
  readonly beatMs: number;
  /**
   * A lock that nobody touched for so long is abandoned. Measured by the watcher's own clock from the first sight of a
   * time stamp, since clocks of machines differ; above the 60 s for which NFS may show an old one.
   */
  readonly staleMs: number;
}

const TIMES: LockTimes = { beatMs: 10_000, staleMs: 120_000 };

export interface Lock {
  release(): Promise<void>;
}

/** What a watcher has seen of somebody's lock. */
interface Sight {
  readonly token: string;
  readonly mtimeMs: number;
  readonly since: number;
}

/**
 * Locks as files in a directory that machines may share. A lock saves double work; that nothing is damaged does not depend
 * on it, since results are written under names of their own and renamed. So the one race that file systems leave (a taken
 * over lock that turns out to be new) may at worst do a step twice.
 */
export class Locks {
  readonly #dir: string;
  readonly #times: LockTimes;
  readonly #now: () => number;
  readonly #seen = new Map<string, Sight>();

  constructor(dir: string, times: LockTimes = TIMES, now: () => number = () => performance.now()) {
    this.#dir = dir;
    this.#times = times;
    this.#now = now;
  }

  /** The lock, or who has it. Errors: CKP009. */
  async tryAcquire(name: string): Promise<Lock | { readonly heldBy: Owner | undefined }> {
    const file = join(this.#dir, `${name}.lock`);
    const token = randomUUID();
    // Twice: the second after an abandoned lock is out of the way.
    for (let attempt = 0; attempt < 2; attempt++) {
      if (await this.#create(file, token)) return this.#hold(file, token);
      const { owner, abandoned, seen } = await this.#look(name, file);
      if (!abandoned) return { heldBy: owner };
      if (!(await this.#takeAway(file, seen))) return { heldBy: undefined };
    }
    return { heldBy: undefined };
  }

  /** Appears with its content at once: a link is atomic where creating and then writing is not, on NFS too. */
  async #create(file: string, token: string): Promise<boolean> {
    const aside = `${file}.${token}`;
    try {
      await mkdir(this.#dir, { recursive: true });
      await writeFile(aside, JSON.stringify({ ...(await thisOwner()), token }));
      await link(aside, file);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") return false;
      // A file system without links: exclusive creation is the next best.
      if (code === "EPERM" || code === "ENOTSUP" || code === "EOPNOTSUPP" || code === "ENOSYS")
        return await createExclusive(file, await readFile(aside, "utf8"));
      throw asOutputProblem(file, error);
    } finally {
      await rm(aside, { force: true });
    }
  }

  #hold(file: string, token: string): Lock {
    const beat = setInterval(() => {
      const now = new Date();
      utimes(file, now, now).catch(() => undefined);
    }, this.#times.beatMs);
    beat.unref();
    return {
      release: async () => {
        clearInterval(beat);
        // After a long sleep of the machine it may be somebody else's.
        const owner = readOwner(await readFile(file, "utf8").catch(() => ""));
        if (owner?.token === token) await rm(file, { force: true });
      },
    };
  }

  async #look(
    name: string,
    file: string,
  ): Promise<{ readonly owner: Owner | undefined; readonly abandoned: boolean; readonly seen: string }> {
    const read = await readWithTime(file);
    if (read === undefined) return { owner: undefined, abandoned: false, seen: "" };
    const owner = readOwner(read.text);
    const seen = owner?.token ?? read.text;
    if (owner !== undefined) {
      const state = await stateOf(owner);
      if (state !== "unknown") return { owner, abandoned: state === "gone", seen };
    }
    const before = this.#seen.get(name);
    if (before === undefined || before.token !== seen || before.mtimeMs !== read.mtimeMs) {
      this.#seen.set(name, { token: seen, mtimeMs: read.mtimeMs, since: this.#now() });
      return { owner, abandoned: false, seen };
    }
    return { owner, abandoned: this.#now() - before.since >= this.#times.staleMs, seen };
  }

  /** Moves it aside and looks again what was moved: another watcher may have been faster, and this one a new lock. */
  async #takeAway(file: string, seen: string): Promise<boolean> {
    const aside = `${file}.stale-${randomUUID()}`;
    try {
      await rename(file, aside);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
      throw asOutputProblem(file, error);
    }
    const text = await readFile(aside, "utf8").catch(() => "");
    const wasAbandoned = (readOwner(text)?.token ?? text) === seen;
    if (!wasAbandoned) await link(aside, file).catch(() => undefined);
    await rm(aside, { force: true });
    return wasAbandoned;
  }
}

async function createExclusive(file: string, text: string): Promise<boolean> {
  try {
    await writeFile(file, text, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw asOutputProblem(file, error);
  }
}

/** Opened before it is asked for its time: that is when NFS asks the server. */
async function readWithTime(file: string): Promise<{ readonly text: string; readonly mtimeMs: number } | undefined> {
  try {
    const handle = await open(file, "r");
    try {
      const { mtimeMs } = await handle.stat();
      return { text: await handle.readFile("utf8"), mtimeMs };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw asOutputProblem(file, error);
  }
}
