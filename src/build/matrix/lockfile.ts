import { basename, dirname, relative, resolve } from "node:path";
import { snapshotName } from "../../checkpoint/hub/name.ts";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { isJsonObject, type Json, type JsonObject, parseJson, readJsonObject } from "../../formats/json.ts";
import { fileAtRevision } from "../../toolchain/git.ts";
import { nvccVersion, queryGpus } from "../../toolchain/machine.ts";
import { writeWhole } from "../cache/files.ts";
import type { Cache } from "../cache/store.ts";
import { changesOf } from "../changes.ts";
import { fingerprint, sortedJson } from "../fingerprint.ts";
import { type Cell, COMMANDS_OF_CELL, type MatrixFile } from "./cell.ts";
import { builderIdentity, pathsOf, type SourceHashes } from "./keys.ts";
import type { Prepared } from "./prepare.ts";
import type { PinnedTimings } from "./timing.ts";

/** `mmtrt.lock`: what the engines of a matrix were built from. Sorted JSON, to be committed. */
export interface Lockfile {
  readonly format: 1;
  readonly mmtrt: string;
  /** CUDA compiler, where plugins are used, and the driver, where kernels are timed; null where neither matters. */
  readonly cuda: { readonly nvcc: string | null; readonly driver: string | null };
  /** Times of kernels that the engines were chosen by. */
  readonly timing_caches: PinnedTimings;
  /** SHA-256 of the files of every model, by the model's path from the lockfile's directory. */
  readonly sources: Readonly<Record<string, SourceHashes>>;
  readonly cells: Readonly<Record<string, LockedCell>>;
}

export interface LockedCell {
  /** A hash over each source, whose files are in the lockfile's own `sources`. */
  readonly sources: Readonly<Record<string, string>>;
  /** What the matrix file sets, by command. */
  readonly options: JsonObject;
  readonly trtexec_flags: readonly string[];
  /** Null for ONNX Runtime. */
  readonly builder: JsonObject | null;
  /** SHA-256 of libraries, in their order. */
  readonly plugins: Readonly<Record<string, string>>;
  /** SHA-256 over all files of each result that is the same at every build: checkpoint and graphs. */
  readonly outputs: Readonly<Record<string, string>>;
}

export interface LockInput {
  readonly file: MatrixFile;
  readonly cells: readonly Cell[];
  readonly prepared: Prepared;
  readonly version: string;
  readonly signal: AbortSignal;
}

/** What is known after a run alone. */
export interface LockedRun {
  readonly outputs: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly timing: PinnedTimings;
}

/** The lockfile as things are now. */
export async function currentLock(
  { file, cells, prepared, version, signal }: LockInput,
  made: LockedRun = { outputs: new Map(), timing: {} },
): Promise<Lockfile> {
  const usesPlugins = cells.some(({ build }) => (build.plugins ?? []).length > 0);
  const timed = cells.some(({ build }) => build.backend === "tensorrt");
  const [nvcc, gpus] = await Promise.all([
    usesPlugins ? nvccVersion({ signal }) : undefined,
    timed ? queryGpus({ signal }) : undefined,
  ]);
  const locked = cells.map(
    cell => [cell.name, lockCell(cell, file, prepared, made.outputs.get(cell.name) ?? {})] as const,
  );
  const sources = cells.flatMap(cell => sourcesOf(cell, file, prepared));
  return {
    format: 1,
    mmtrt: version,
    cuda: { nvcc: nvcc ?? null, driver: gpus?.[0]?.driver ?? null },
    timing_caches: made.timing,
    sources: Object.fromEntries(sources),
    cells: Object.fromEntries(locked),
  };
}

/** Paths are as seen from the lockfile, which lies beside the matrix file on every machine; the Hub's cache does not. */
function sourcesOf(cell: Cell, file: MatrixFile, { sources }: Prepared): readonly (readonly [string, SourceHashes])[] {
  const home = dirname(resolve(file.lockFile));
  return pathsOf("convert", cell).map(([, path]) => [
    snapshotName(path) ?? (relative(home, resolve(path)) || "."),
    sources.get(path)?.hashes ?? {},
  ]);
}

function lockCell(cell: Cell, file: MatrixFile, prepared: Prepared, outputs: LockedCell["outputs"]): LockedCell {
  const options = COMMANDS_OF_CELL.map(command => {
    const values = cell[command] as unknown as Readonly<Record<string, unknown>>;
    const paths = new Set(pathsOf(command, cell).map(([key]) => key));
    const given = Object.keys(cell.origins)
      .filter(key => key.startsWith(`${command}.`))
      .map(key => key.slice(command.length + 1))
      // Where a Python or a cache of times lies differs from machine to machine; what is in it is locked by version.
      .filter(key => !paths.has(key));
    return [command, Object.fromEntries(given.map(key => [key, values[key]]))] as const;
  });
  return {
    sources: Object.fromEntries(
      sourcesOf(cell, file, prepared).map(([path, hashes]) => [path, fingerprint(hashes)] as const),
    ),
    options: Object.fromEntries(options) as JsonObject,
    trtexec_flags: cell.trtexecFlags,
    builder: builderIdentity(prepared.builderOf(cell), cell.build.backend) as JsonObject | null,
    plugins: prepared.pluginsOf(cell),
    outputs,
  };
}

/** Errors: MTX011 for a file that is missing or of another form. */
export async function readLock(path: string): Promise<Lockfile> {
  const json = await readJsonObject(path).catch((error: unknown) => {
    if (!(error instanceof MmtrtError)) throw error;
    return fail(unusable(path, error.problems[0]?.what ?? "it cannot be read"));
  });
  return asLock(json, path);
}

/** The lockfile that `reference` means: a file, or the one of the matrix at a revision of git. Errors: MTX011. */
export async function lockAt(reference: string, file: MatrixFile, at: string, signal: AbortSignal): Promise<Lockfile> {
  const isFile = /\.(lock|json)$/.test(reference);
  if (isFile) return readLock(reference);
  const path = resolve(file.lockFile);
  const found = await fileAtRevision(dirname(path), reference, basename(path), signal);
  if (typeof found !== "string") return asLock(parseJson(found.text, `${reference}:${basename(path)}`), reference);
  return fail({
    ...unusable(`${basename(path)} of ${reference}`, found),
    at,
    fix: "commit mmtrt.lock, or give the path of a lockfile",
  });
}

function asLock(json: Json, path: string): Lockfile {
  if (
    !isJsonObject(json) ||
    json.format !== 1 ||
    typeof json.mmtrt !== "string" ||
    !isJsonObject(json.sources) ||
    !isJsonObject(json.timing_caches) ||
    !isJsonObject(json.cells)
  )
    fail(unusable(path, "it has another form"));
  const whole = Object.values(json.cells as JsonObject).every(
    cell =>
      isJsonObject(cell) && isJsonObject(cell.sources) && isJsonObject(cell.options) && isJsonObject(cell.outputs),
  );
  if (!whole) fail(unusable(path, "one of its cells has another form"));
  return json as unknown as Lockfile;
}

/** Cells that are not in the lock, or were built from something else. */
export function changedCells(cells: readonly Cell[], before: Lockfile, now: Lockfile): readonly Cell[] {
  const general = ({ mmtrt, cuda }: Lockfile): string => sortedJson({ mmtrt, cuda });
  if (general(before) !== general(now)) return cells;
  const form = (lock: Lockfile, name: string): string => sortedJson({ ...lock.cells[name], outputs: null });
  return cells.filter(({ name }) => form(before, name) !== form(now, name));
}

/** One problem for each cell that is not what the lockfile says, and one for the versions. Empty: nothing drifted. */
export function driftProblems(locked: Lockfile, now: Lockfile, path: string): readonly Problem[] {
  const drift = (what: string, changes: readonly string[]): Problem => ({
    code: "MTX010",
    what: `${what}: ${changes.slice(0, 5).join(", ")}${changes.length > 5 ? ` and ${changes.length - 5} more` : ""}`,
    at: path,
    why: "--frozen builds what the lockfile describes and nothing else",
    fix: "restore what changed, or run without --frozen to lock it anew",
  });
  const general = changesOf(generalOf(locked), generalOf(now));
  const sources = Object.entries(now.sources).flatMap(([source, hashes]) => {
    const before = locked.sources[source];
    const changes = before === undefined ? [] : changesOf(plain(before), plain(hashes));
    return changes.length === 0 ? [] : [drift(`files of ${source} drifted`, changes)];
  });
  const cells = Object.entries(now.cells).flatMap(([name, cell]) => {
    const before = locked.cells[name];
    if (before === undefined) return [drift(`cell ${name} is not in the lockfile`, ["it was never locked"])];
    // Files of a source are told once, and not for every cell.
    const form = (one: LockedCell): JsonObject => {
      const paths = Object.entries(one.sources).map(([path, hash]) => [path, path in locked.sources ? "" : hash]);
      return plain({ ...one, outputs: {}, sources: Object.fromEntries(paths) });
    };
    const changes = changesOf(form(before), form(cell));
    return changes.length === 0 ? [] : [drift(`cell ${name} drifted`, changes)];
  });
  return [...(general.length === 0 ? [] : [drift("versions drifted", general)]), ...sources, ...cells];
}

/** Results that should have been the same bytes as when they were locked. */
export function outputProblems(locked: Lockfile, now: Lockfile, path: string): readonly Problem[] {
  return Object.entries(now.cells).flatMap(([name, { outputs }]) =>
    Object.entries(outputs).flatMap(([label, sha256]): readonly Problem[] => {
      const before = locked.cells[name]?.outputs[label];
      if (before === undefined || before === sha256) return [];
      return [
        {
          code: "MTX015",
          what: `${label} of ${name} has other bytes than when it was locked`,
          at: path,
          why: "equal sources, options and versions give equal bytes",
          fix: "mmtrt cache verify; compare the two with mmtrt diff",
        },
      ];
    }),
  );
}

/** Cells of other runs keep their place, as long as the versions are the same; a cell that the file lost is dropped. */
export async function writeLock(path: string, now: Lockfile, all: readonly Cell[], cache: Cache): Promise<void> {
  const lock = await cache.locks.tryAcquire("lockfile");
  try {
    const before = await readLock(path).catch(() => undefined);
    const names = new Set(all.map(({ name }) => name));
    const kept = Object.entries(before?.mmtrt === now.mmtrt ? (before?.cells ?? {}) : {}).filter(([name]) =>
      names.has(name),
    );
    const cells = { ...Object.fromEntries(kept), ...now.cells };
    const used = new Set(Object.values(cells).flatMap(cell => Object.keys(cell.sources)));
    const sources = Object.entries({ ...before?.sources, ...now.sources }).filter(([path]) => used.has(path));
    const timing = { ...before?.timing_caches, ...now.timing_caches };
    const merged = { ...now, timing_caches: timing, sources: Object.fromEntries(sources), cells };
    await writeWhole(path, `${JSON.stringify(JSON.parse(sortedJson(merged)), undefined, 2)}\n`);
  } finally {
    if ("release" in lock) await lock.release();
  }
}

function generalOf({ mmtrt, cuda }: Lockfile): JsonObject {
  return { mmtrt, cuda: { ...cuda } };
}

function plain(value: object): JsonObject {
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}

function unusable(path: string, reason: string): Problem {
  return {
    code: "MTX011",
    what: `${path} is no lockfile: ${reason}`,
    at: path,
    why: "without it nobody knows what was built before",
    fix: "mmtrt matrix FILE without --frozen writes one",
  };
}
