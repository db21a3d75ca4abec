import { resolve } from "node:path";
import { Cache } from "../../build/cache/store.ts";
import { limitsOf } from "../../build/matrix/budgets.ts";
import type { Cell, MatrixFile } from "../../build/matrix/cell.ts";
import type { MatrixResult } from "../../build/matrix/events.ts";
import { expandMatrix } from "../../build/matrix/expand.ts";
import { History } from "../../build/matrix/history.ts";
import { builderIdentity } from "../../build/matrix/keys.ts";
import {
  changedCells,
  currentLock,
  driftProblems,
  type Lockfile,
  lockAt,
  outputProblems,
  readLock,
  writeLock,
} from "../../build/matrix/lockfile.ts";
import { narrowed, type Prepared, prepare } from "../../build/matrix/prepare.ts";
import { readMatrix } from "../../build/matrix/read.ts";
import { type MatrixEnd, type MatrixRun, REAL_CLOCK, runMatrix } from "../../build/matrix/run.ts";
import { onlyCells, readShard, shardOf } from "../../build/matrix/select.ts";
import { TimingCaches } from "../../build/matrix/timing.ts";
import { MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { environment } from "../../options/env.ts";
import { VERSION } from "../version.ts";
import type { MatrixCommand } from "./context.ts";
import { withLocalModels } from "./hub.ts";
import { checkTogether, emitCommand, gatherCommand } from "./jobs.ts";
import { showPlan } from "./plan.ts";
import { Reports } from "./reports.ts";
import { MatrixView } from "./view.ts";

/** Everything that a run starts from. */
interface Start {
  readonly file: MatrixFile;
  /** Of the whole file. */
  readonly all: readonly Cell[];
  /** To be built. */
  readonly cells: readonly Cell[];
  readonly prepared: Prepared;
  readonly cache: Cache;
}

export async function matrixCommand(context: MatrixCommand): Promise<void> {
  const { options, origin, signal } = context;
  checkTogether(context);
  const file = await readMatrix(options.matrix_file, origin("matrix_file"));
  const all = expandMatrix(file);
  if (options.emit !== undefined || options.gather !== undefined) return otherwise(context, file, all);
  const chosen = await withLocalModels(selected(all, context), context);
  const reports = await Reports.open(options);
  const cache = await Cache.open(resolve(options.cache_dir ?? file.cacheDir));
  try {
    const prepared = await prepare(chosen, { version: VERSION, env: environment(), signal, cache });
    const start = await sinceChange(context, { file, all, cells: chosen, prepared, cache });
    const locked = options.frozen ? await frozen(context, start) : undefined;
    if (options.plan) await showPlan(context, start);
    else await build(context, start, reports, locked);
  } finally {
    await cache.close();
  }
}

/** Job files for other machines, or the report of what they did: nothing is built here. */
async function otherwise(context: MatrixCommand, file: MatrixFile, all: readonly Cell[]): Promise<void> {
  const { emit, gather = [] } = context.options;
  const cells = selected(all, context);
  if (emit !== undefined) await emitCommand(context, emit, { file, all, cells });
  else throwWorst(await gatherCommand(context, gather, { file, cells }));
}

/** With --changed_since only what changed, and the steps that lead to it. */
async function sinceChange({ options, origin, signal }: MatrixCommand, start: Start): Promise<Start> {
  if (options.changed_since === undefined) return start;
  const { file, cells, prepared } = start;
  const before = await lockAt(options.changed_since, file, origin("changed_since"), signal);
  const now = await currentLock({ ...start, version: VERSION, signal });
  const changed = changedCells(cells, before, now);
  return { ...start, cells: changed, prepared: narrowed(prepared, changed) };
}

/** The lockfile, once nothing has drifted from it. */
async function frozen({ signal }: MatrixCommand, start: Start): Promise<Lockfile> {
  const { lockFile } = start.file;
  const locked = await readLock(lockFile);
  throwIfAny(driftProblems(locked, await currentLock({ ...start, version: VERSION, signal }), lockFile));
  return locked;
}

async function build(context: MatrixCommand, start: Start, reports: Reports, locked?: Lockfile): Promise<void> {
  const { options, ui, signal } = context;
  const { file, cells, cache, prepared } = start;
  const history = await History.load(cache, resolve(file.file));
  const limits = await limitsOf(options, cells, prepared, cache.dir);
  const run: MatrixRun = {
    ...start,
    history,
    limits,
    version: VERSION,
    program: thisProgram(),
    env: environment(),
    signal,
    clock: REAL_CLOCK,
    shard: options.shard ?? null,
    timing: new TimingCaches(cache, locked?.timing_caches),
  };
  const view = new MatrixView(ui, { explain: options.explain });
  const events = runMatrix(run);
  let result: MatrixResult | undefined;
  for (;;) {
    const next = await events.next();
    if (next.done) {
      if (result !== undefined) await reports.write(result);
      view.close();
      if (next.value.bug !== undefined) throw next.value.bug;
      await settleLock(context, run, start.all, { result, outputs: next.value.outputs, locked });
      break;
    }
    if (next.value.event === "finished") result = next.value.result;
    view.show(next.value);
  }
  if (result !== undefined) throwWorst(result);
}

/** After a frozen run the same bytes must be there; after another one the lockfile says what was built. */
async function settleLock(
  { options, signal }: MatrixCommand,
  run: MatrixRun,
  all: readonly Cell[],
  ended: Pick<MatrixEnd, "outputs"> & {
    readonly result: MatrixResult | undefined;
    readonly locked: Lockfile | undefined;
  },
): Promise<void> {
  const { result, outputs, locked } = ended;
  const isReady = (name: string): boolean =>
    result?.cells.some(cell => cell.name === name && ["built", "unchanged"].includes(cell.state)) === true;
  const cells = run.cells.filter(({ name }) => isReady(name));
  if (cells.length === 0) return;
  const names = cells.flatMap(cell => {
    const identity = builderIdentity(run.prepared.builderOf(cell), cell.build.backend);
    return run.timing.nameOf(cell, identity) ?? [];
  });
  const timing = locked === undefined ? await run.timing.pin(names) : locked.timing_caches;
  const now = await currentLock({ ...run, cells, signal }, { outputs, timing });
  const path = run.file.lockFile;
  if (locked !== undefined) throwIfAny(outputProblems(locked, now, path));
  else if (options.lock) await writeLock(path, now, all, run.cache);
}

function selected(all: readonly Cell[], { options, origin }: MatrixCommand): readonly Cell[] {
  const only = options.only === undefined ? all : onlyCells(all, options.only, origin("only"));
  return options.shard === undefined ? only : shardOf(only, readShard(options.shard, origin("shard")));
}

/** The exit code is that of the worst cell; each problem is told once, however many cells it is about. */
function throwWorst({ cells }: MatrixResult): void {
  const problems = new Map<string, Problem>();
  for (const cell of cells) for (const problem of cell.problems) problems.set(JSON.stringify(problem), problem);
  if (problems.size > 0) throw new MmtrtError([...problems.values()]);
}

/** As this process was started, for steps that are processes of their own. */
function thisProgram(): readonly [string, ...string[]] {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
}
