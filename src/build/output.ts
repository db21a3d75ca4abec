import { mkdir, readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { asOutputProblem, writeJson } from "../checkpoint/files.ts";
import { realOutput } from "../checkpoint/output-dir.ts";
import {
  claimStage,
  dropStage,
  isRunning,
  releaseStage,
  type StageClaim,
  type StageOwner,
  thisOwner,
} from "../checkpoint/stage.ts";
import { fail, MmtrtError, type Problem } from "../diagnostics/index.ts";
import type { EngineManifest } from "../formats/engine-config.ts";
import { ENGINE_MANIFEST, LOGS_DIR, openEngine } from "../formats/engine-dir.ts";
import { smallText } from "../formats/file.ts";
import { LORA_DIR } from "../formats/lora/engine.ts";
import type { BuildPlan } from "./plan.ts";

/** What an engine directory may hold at its top; anything else in it belongs to somebody. */
const OWN_ENTRIES: readonly string[] = [
  ENGINE_MANIFEST,
  "llm",
  "visual",
  "tokenizer",
  "encoder",
  "decoder",
  LORA_DIR,
  LOGS_DIR,
];
const INNER_STAGE = ".partial";
const INNER_LOGS = ".logs";
const HOLDER = "build.json";
/** Follows a directory's name, with the process's number, while a new one takes its place. */
const OLD = ".old-";

/** The directory as it is before the build. */
export type OutputState =
  | { readonly state: "new" }
  | { readonly state: "same"; readonly manifest: EngineManifest }
  | { readonly state: "older"; readonly manifest: EngineManifest };

/** Whether the plan is carried out already, may be carried out, or would overwrite something. Errors: BLD001. */
export async function outputState(plan: BuildPlan): Promise<OutputState> {
  await restoreReplaced(await realOutput(plan.output_dir));
  const inner = (name: string): boolean =>
    name === INNER_LOGS || name === INNER_STAGE || name.startsWith(`${INNER_STAGE}.`);
  const names = (await entriesOf(plan.output_dir)).filter(name => !inner(name));
  if (names.length === 0) return { state: "new" };
  const foreign = names.filter(name => !OWN_ENTRIES.includes(name));
  const opened = await openEngine(plan.output_dir).catch((error: unknown) => {
    if (error instanceof MmtrtError) return undefined;
    throw error;
  });
  if (opened === undefined || foreign.length > 0) fail(notEmpty(plan, foreign.length > 0 ? foreign : names));
  const { manifest } = opened;
  if (manifest.fingerprint === plan.fingerprint && !plan.force) return { state: "same", manifest };
  if (!plan.force) fail(anotherBuild(plan, manifest));
  return { state: "older", manifest };
}

/**
 * Files are written into `DIR.partial` and appear under DIR at once. Where DIR is a mount point its neighbour is another
 * file system (no rename, no hard link), so the stage is `DIR/.partial` and its entries are moved.
 */
export class EngineOutput {
  readonly stage: string;
  /** Where builders' logs are written: not in the stage, because they are wanted after a failure. */
  readonly logs: string;
  readonly #final: string;
  readonly #inner: boolean;

  private constructor(final: string, inner: boolean) {
    this.#final = final;
    this.#inner = inner;
    this.stage = inner ? join(final, INNER_STAGE) : `${final}.partial`;
    this.logs = inner ? join(final, INNER_LOGS) : `${final}.logs`;
  }

  static async open(dir: string): Promise<EngineOutput> {
    const final = await realOutput(dir);
    const output = new EngineOutput(final, await isMountPoint(final));
    try {
      await mkdir(dirname(output.stage), { recursive: true });
      await claimStage({
        stage: output.stage,
        look: () => lookAt(output.stage),
        seenIn: dir => textOf(join(dir, HOLDER)),
        prepare: async dir => {
          for (const name of await readdir(dir)) await rm(join(dir, name), { recursive: true, force: true });
          await writeJson(join(dir, HOLDER), thisOwner());
        },
      });
    } catch (error) {
      throw asOutputProblem(final, error);
    }
    return output;
  }

  /** Gives the stage its final name; an older engine directory goes only after the new one is whole. */
  async publish(): Promise<void> {
    try {
      await rm(join(this.stage, HOLDER));
      await (this.#inner ? this.#moveEntries() : this.#replace());
      releaseStage(this.stage);
    } catch (error) {
      throw asOutputProblem(this.#final, error);
    }
  }

  /** Puts logs into the stage under the names they have in the engine directory. */
  async keepLogs(names: readonly string[]): Promise<void> {
    for (const name of names) await rename(this.logFile(name), join(this.stage, name));
    await rmdir(this.logs).catch(() => undefined);
  }

  async dropLogs(names: readonly string[]): Promise<void> {
    for (const name of names) await rm(this.logFile(name), { force: true });
    await rmdir(this.logs).catch(() => undefined);
  }

  /** `logs/visual.log` while it is written. */
  logFile(name: string): string {
    return join(this.logs, basename(name));
  }

  /** What failed before is told; that its remains could not be removed is seen by the next build, which tries again. */
  async abandon(): Promise<void> {
    await dropStage(this.stage, parseOwner(await textOf(join(this.stage, HOLDER))));
  }

  async #replace(): Promise<void> {
    const old = `${this.#final}${OLD}${process.pid}`;
    await rmdir(this.#final).catch(() => undefined);
    const hadOld = await rename(this.#final, old).then(
      () => true,
      () => false,
    );
    try {
      await rename(this.stage, this.#final);
    } catch (error) {
      if (hadOld) await rename(old, this.#final);
      throw error;
    }
    // The new engines are in place: a rest of the old ones is cleared by the next build.
    await rm(old, { recursive: true, force: true }).catch(() => undefined);
  }

  /** mmtrt.json goes first and comes last: without it the directory is not taken for an engine. */
  async #moveEntries(): Promise<void> {
    const isManifest = (name: string): number => Number(name === ENGINE_MANIFEST);
    for (const name of OWN_ENTRIES) await rm(join(this.#final, name), { recursive: true, force: true });
    const names = (await readdir(this.stage)).sort((a, b) => isManifest(a) - isManifest(b));
    for (const name of names) await rename(join(this.stage, name), join(this.#final, name));
    await rmdir(this.stage);
  }
}

/**
 * A build that was killed between the two renames of `#replace` has left the old engines under another name: they get
 * their own back. One killed after them has left a directory that nobody needs.
 */
async function restoreReplaced(final: string): Promise<void> {
  const [parent, prefix] = [dirname(final), `${basename(final)}${OLD}`];
  for (const name of await entriesOf(parent)) {
    const pid = Number(name.startsWith(prefix) ? name.slice(prefix.length) : Number.NaN);
    if (!Number.isSafeInteger(pid) || isRunning({ pid, host: hostname() }, final)) continue;
    const old = join(parent, name);
    if (!(await entriesOf(old)).every(entry => OWN_ENTRIES.includes(entry))) continue;
    if (await holdsEngine(final)) await rm(old, { recursive: true, force: true }).catch(() => undefined);
    else if (await holdsEngine(old)) await rename(old, final).catch(() => undefined);
  }
}

/** Whether a directory is there that was a whole engine directory when it was last renamed. */
function holdsEngine(dir: string): Promise<boolean> {
  return stat(join(dir, ENGINE_MANIFEST)).then(
    info => info.isFile(),
    () => false,
  );
}

/** What a killed build left may be taken; what is not a stage, or one that is being written, may not. */
async function lookAt(stage: string): ReturnType<StageClaim["look"]> {
  const names = await entriesOf(stage);
  if (names.length === 0) return { state: "free" };
  const seen = await textOf(join(stage, HOLDER));
  const owner = parseOwner(seen);
  if (owner === undefined && !isAbandoned(names)) fail(strangeStage(stage, names));
  if (owner !== undefined && isRunning(owner, stage)) fail(inUse(stage, owner.pid));
  return { state: "abandoned", seen };
}

/** Killed as it began, with the holder's file not yet written; or at the last moment, with everything there but that file. */
function isAbandoned(names: readonly string[]): boolean {
  if (names.every(name => name === HOLDER)) return true;
  return names.includes(ENGINE_MANIFEST) && names.every(name => OWN_ENTRIES.includes(name));
}

function textOf(file: string): Promise<string> {
  return smallText(file);
}

function parseOwner(text: string): StageOwner | undefined {
  try {
    const { pid, host } = JSON.parse(text) as Partial<StageOwner>;
    return Number.isSafeInteger(pid) && typeof host === "string" ? { pid: pid as number, host } : undefined;
  } catch {
    return undefined;
  }
}

async function entriesOf(dir: string): Promise<string[]> {
  return readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw asOutputProblem(dir, error);
  });
}

async function isMountPoint(dir: string): Promise<boolean> {
  const [own, parent] = await Promise.all([dir, dirname(dir)].map(path => stat(path).catch(() => undefined)));
  return own !== undefined && parent !== undefined && own.dev !== parent.dev;
}

/** `max_batch_size 1 → 8`: what sets the two builds apart, or the sources when the options are equal. */
export function differences(plan: BuildPlan, manifest: EngineManifest): string {
  const changed = Object.keys({ ...manifest.options, ...plan.options })
    .filter(key => JSON.stringify(manifest.options[key]) !== JSON.stringify(plan.options[key]))
    .map(
      key => `${key} ${JSON.stringify(manifest.options[key] ?? null)} → ${JSON.stringify(plan.options[key] ?? null)}`,
    );
  if (manifest.version !== plan.version) changed.unshift(`mmtrt ${manifest.version} → ${plan.version}`);
  return changed.length > 0 ? changed.join(", ") : "the checkpoint has changed";
}

function anotherBuild(plan: BuildPlan, manifest: EngineManifest): Problem {
  return {
    code: "BLD001",
    what: `${plan.output_dir} holds another build: ${differences(plan, manifest)}`,
    at: `${plan.output_dir} (--output_dir)`,
    why: "a program may be running from these engines, so they are replaced only when asked",
    fix: "--force to replace it, or another --output_dir",
  };
}

function notEmpty({ output_dir }: BuildPlan, names: readonly string[]): Problem {
  const some = names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : "");
  return {
    code: "BLD001",
    what: `${output_dir} is not empty and not a whole engine directory: it holds ${some}`,
    at: `${output_dir} (--output_dir)`,
    why: "a build replaces nothing that it did not write, with --force either",
    fix: "give a new directory, or remove this one if nothing in it is needed",
  };
}

function strangeStage(stage: string, names: readonly string[]): Problem {
  return {
    code: "BLD001",
    what: `${stage} is in the way: it holds ${names.slice(0, 3).join(", ")}`,
    at: `${stage} (--output_dir)`,
    why: "files are written there before they get their final name, and nothing shows that a build left these",
    fix: "remove it if nothing in it is needed, or give another --output_dir",
  };
}

function inUse(stage: string, pid: number): Problem {
  return {
    code: "BLD001",
    what: `${stage} is being written by process ${pid}`,
    at: `${stage} (--output_dir)`,
    why: "two builds would overwrite each other's files",
    fix: `wait until it ends, or remove ${stage} if that process is no mmtrt build`,
  };
}
