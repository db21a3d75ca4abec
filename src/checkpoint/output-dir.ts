import { lstat, mkdir, readdir, realpath, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fail, type Problem } from "../diagnostics/index.ts";
import { smallText } from "../formats/file.ts";
import { asOutputProblem, writeJson } from "./files.ts";
import { MANIFEST_FILE, type NonFinite } from "./manifest.ts";
import {
  claimStage,
  dropStage,
  isRunning,
  releaseStage,
  type StageClaim,
  type StageOwner,
  thisOwner,
} from "./stage.ts";

const STATE_FILE = "convert.json";
const INNER_STAGE = ".partial";
/** A manifest names each tensor that is not finite; some MB at most. */
const MAX_STATE_BYTES = 64 << 20;

/** What an interrupted run leaves for the next: which run it was, who holds the directory, what was found in finished files. */
interface RunState extends StageOwner {
  readonly fingerprint: string;
  readonly finished: Readonly<Record<string, readonly NonFinite[]>>;
}

/**
 * The directory that files are written into before they appear under the final name: `DIR.partial`, renamed at the end.
 * Where DIR is a mount point its neighbour is another file system, so the stage is `DIR/.partial` and its entries move.
 */
export class OutputDir {
  readonly final: string;
  readonly stage: string;
  readonly #fingerprint: string;
  readonly #inner: boolean;
  #finished: Record<string, readonly NonFinite[]> = {};
  #saving: Promise<void> = Promise.resolve();
  /** The outermost directory made on the way to the stage. */
  #madeParent: string | undefined;

  private constructor(final: string, inner: boolean, fingerprint: string) {
    this.final = final;
    this.stage = inner ? join(final, INNER_STAGE) : `${final}.partial`;
    this.#inner = inner;
    this.#fingerprint = fingerprint;
  }

  /** "done" when DIR already holds this very run. Errors: CKP046 not empty, CKP047 in use, CKP009 cannot be written. */
  static async open(path: string, fingerprint: string): Promise<OutputDir | "done"> {
    const final = await realOutput(path);
    await forgetPublished(`${final}.partial`);
    const inner = (await isMountPoint(final)) || (await entriesOf(final)).some(isInnerStage);
    if (await isDone(final, fingerprint)) return "done";
    const output = new OutputDir(final, inner, fingerprint);
    await output.#claim();
    try {
      // Again: another run may have published since, and is no longer seen.
      if (!(await isDone(final, fingerprint))) return output;
    } catch (error) {
      await output.abandon(false);
      throw error;
    }
    await output.abandon(false);
    return "done";
  }

  async #claim(): Promise<void> {
    try {
      this.#madeParent = await mkdir(dirname(this.stage), { recursive: true });
      await claimStage({
        stage: this.stage,
        look: () => lookAt(this.stage),
        seenIn: dir => stateText(join(dir, STATE_FILE)),
        prepare: dir => this.#prepare(dir),
      });
      await rm(stateBeside(this.stage), { force: true });
    } catch (error) {
      await this.#removeParents();
      throw asOutputProblem(this.final, error);
    }
  }

  /** What an earlier run with the same inputs finished stays. */
  async #prepare(dir: string): Promise<void> {
    const state = parseState(await stateText(join(dir, STATE_FILE)));
    if (state?.fingerprint === this.#fingerprint) this.#finished = { ...state.finished };
    else for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true, force: true });
    await this.#writeState(dir);
  }

  /** What was found in `file` if an earlier run finished it. */
  async finished(file: string): Promise<readonly NonFinite[] | undefined> {
    const found = this.#finished[file];
    const size = await sizeOf(join(this.stage, file));
    return size === undefined ? undefined : found;
  }

  async finish(file: string, found: readonly NonFinite[]): Promise<void> {
    this.#finished[file] = found;
    await this.#saveState();
  }

  /** Bytes of files in the stage, for the manifest. */
  async sizes(files: readonly string[]): Promise<{ name: string; size: number }[]> {
    return Promise.all(files.map(async name => ({ name, size: (await sizeOf(join(this.stage, name))) ?? 0 })));
  }

  /** Everything is written: gives it its final name. */
  async publish(): Promise<void> {
    try {
      if (!this.#inner) {
        // The state says whose the stage is, so it stays beside it until that has its name.
        await rename(join(this.stage, STATE_FILE), stateBeside(this.stage));
        await rmdir(this.final).catch(() => undefined);
        await rename(this.stage, this.final);
        releaseStage(this.stage);
        await rm(stateBeside(this.stage), { force: true });
        return;
      }
      await rm(join(this.stage, STATE_FILE), { force: true });
      // mmtrt.json goes last: without it the directory is not taken for a checkpoint.
      const names = (await readdir(this.stage)).sort(
        (a, b) => Number(a === MANIFEST_FILE) - Number(b === MANIFEST_FILE),
      );
      for (const name of names) await rename(join(this.stage, name), join(this.final, name));
      await rmdir(this.stage);
      releaseStage(this.stage);
    } catch (error) {
      throw asOutputProblem(this.final, error);
    }
  }

  /** After a failure nothing stays, directories made on the way included; after an interruption finished files do. */
  async abandon(interrupted: boolean): Promise<void> {
    if (interrupted && Object.keys(this.#finished).length > 0) return releaseStage(this.stage);
    await dropStage(this.stage, await stateOf(this.stage));
    await rm(stateBeside(this.stage), { force: true }).catch(() => undefined);
    await this.#removeParents();
  }

  async #removeParents(): Promise<void> {
    const made = this.#madeParent;
    for (let dir = dirname(this.stage); made !== undefined && dir.startsWith(made); dir = dirname(dir)) {
      const removed = await rmdir(dir).then(
        () => true,
        () => false,
      );
      if (!removed) return;
    }
  }

  /** One after the other: workers finish files at the same time, and the last state must be the last written. */
  #saveState(): Promise<void> {
    this.#saving = this.#saving.then(() => this.#writeState(this.stage));
    return this.#saving;
  }

  #writeState(dir: string): Promise<void> {
    const state: RunState = { fingerprint: this.#fingerprint, ...thisOwner(), finished: this.#finished };
    return writeJson(join(dir, STATE_FILE), state);
  }
}

/**
 * Where a link leads: a directory cannot take the name of a link. Errors: CKP009 for one that leads nowhere, before hours of
 * work for it.
 */
export async function realOutput(path: string): Promise<string> {
  const final = resolve(path);
  const isLink = await lstat(final).then(
    info => info.isSymbolicLink(),
    () => false,
  );
  if (!isLink) return final;
  return realpath(final).catch((error: unknown) => {
    throw asOutputProblem(final, error);
  });
}

/** Whether this very run has been published. Errors: CKP046 when something else is there. */
async function isDone(final: string, fingerprint: string): Promise<boolean> {
  const present = (await entriesOf(final)).filter(name => !isInnerStage(name));
  if (present.includes(MANIFEST_FILE) && (await fingerprintOf(join(final, MANIFEST_FILE))) === fingerprint) return true;
  if (present.length > 0) fail(notEmpty(final, present));
  return false;
}

/** Itself, or while a process claims it. */
function isInnerStage(name: string): boolean {
  return name === INNER_STAGE || name.startsWith(`${INNER_STAGE}.`);
}

async function lookAt(stage: string): ReturnType<StageClaim["look"]> {
  const names = await entriesOf(stage);
  if (names.length === 0) return { state: "free" };
  const seen = await stateText(join(stage, STATE_FILE));
  const state = await stateOf(stage);
  // Killed in its first instant, a run leaves its state half written and nothing else.
  const begun = names.every(name => name === `${STATE_FILE}.partial`);
  if (state === undefined && !begun && !names.includes(MANIFEST_FILE)) fail(notEmpty(stage, names));
  if (state !== undefined && isRunning(state, stage)) fail(inUse(stage, state));
  return { state: "abandoned", seen };
}

/** Where a stage's state is while the stage gets its final name. */
function stateBeside(stage: string): string {
  return `${stage}.json`;
}

/** What a run leaves that is killed when its stage has its final name already. */
async function forgetPublished(stage: string): Promise<void> {
  const state = parseState(await stateText(stateBeside(stage)));
  if (state !== undefined && !isRunning(state, stage) && (await entriesOf(stage)).length === 0)
    await rm(stateBeside(stage), { force: true }).catch(() => undefined);
}

async function stateOf(stage: string): Promise<RunState | undefined> {
  const texts = [await stateText(join(stage, STATE_FILE)), await stateText(stateBeside(stage))];
  return texts.map(parseState).find(state => state !== undefined);
}

function stateText(file: string): Promise<string> {
  return smallText(file, MAX_STATE_BYTES);
}

function parseState(text: string): RunState | undefined {
  try {
    const state = JSON.parse(text) as Partial<RunState>;
    const usable =
      typeof state.fingerprint === "string" && typeof state.pid === "number" && typeof state.finished === "object";
    return usable ? (state as RunState) : undefined;
  } catch {
    return undefined;
  }
}

async function fingerprintOf(manifest: string): Promise<unknown> {
  const text = await smallText(manifest, MAX_STATE_BYTES);
  try {
    return (JSON.parse(text) as { fingerprint?: unknown }).fingerprint;
  } catch {
    return undefined;
  }
}

async function entriesOf(dir: string): Promise<string[]> {
  return readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    if (error.code === "ENOTDIR") return fail(notEmpty(dir, []));
    throw asOutputProblem(dir, error);
  });
}

async function isMountPoint(dir: string): Promise<boolean> {
  const [own, parent] = await Promise.all([dir, dirname(dir)].map(path => stat(path).catch(() => undefined)));
  return own !== undefined && parent !== undefined && own.dev !== parent.dev;
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    ({ size }) => size,
    () => undefined,
  );
}

function notEmpty(dir: string, names: readonly string[]): Problem {
  const some = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
  return {
    code: "CKP046",
    what: names.length === 0 ? `${dir} is a file` : `${dir} is not empty: it holds ${some}`,
    at: `${dir} (--output_dir)`,
    why: "files of another checkpoint or another person must not be mixed with this one or overwritten",
    fix: "give a new directory, or remove this one if nothing in it is needed",
  };
}

function inUse(stage: string, { pid }: RunState): Problem {
  return {
    code: "CKP047",
    what: `${stage} is being written by process ${pid}`,
    at: `${stage} (--output_dir)`,
    why: "two runs would overwrite each other's files",
    fix: `wait until it ends, or remove ${stage} if that process is no mmtrt convert`,
  };
}
