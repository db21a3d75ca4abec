import { resolve } from "node:path";
import { Cache } from "../../build/cache/store.ts";
import { limitsOf } from "../../build/matrix/budgets.ts";
import type { Cell, MatrixFile } from "../../build/matrix/cell.ts";
import type { MatrixResult } from "../../build/matrix/events.ts";
import { expandMatrix } from "../../build/matrix/expand.ts";
import { History } from "../../build/matrix/history.ts";
import { type Prepared, prepare } from "../../build/matrix/prepare.ts";
import { readMatrix } from "../../build/matrix/read.ts";
import { type MatrixRun, REAL_CLOCK, runMatrix } from "../../build/matrix/run.ts";
import { onlyCells, readShard, shardOf } from "../../build/matrix/select.ts";
import { MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { environment } from "../../options/env.ts";
import type { matrixOptions } from "../../options/tables/matrix.ts";
import type { CommandContext } from "../command.ts";
import { VERSION } from "../version.ts";
import { showPlan } from "./plan.ts";
import { Reports } from "./reports.ts";
import { MatrixView } from "./view.ts";

export type MatrixCommand = CommandContext<typeof matrixOptions>;

/** Everything that a run starts from. */
interface Start {
  readonly file: MatrixFile;
  readonly cells: readonly Cell[];
  readonly prepared: Prepared;
  readonly cache: Cache;
}

export async function matrixCommand(context: MatrixCommand): Promise<void> {
  const { options, origin, signal } = context;
  const file = await readMatrix(options.matrix_file, origin("matrix_file"));
  const cells = selected(expandMatrix(file), context);
  const reports = await Reports.open(options);
  const cache = await Cache.open(resolve(options.cache_dir ?? file.cacheDir));
  try {
    const prepared = await prepare(cells, { version: VERSION, env: environment(), signal, cache });
    const start = { file, cells, prepared, cache };
    if (options.plan) await showPlan(context, start);
    else await build(context, start, reports);
  } finally {
    await cache.close();
  }
}

async function build(context: MatrixCommand, start: Start, reports: Reports): Promise<void> {
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
      break;
    }
    if (next.value.event === "finished") result = next.value.result;
    view.show(next.value);
  }
  if (result !== undefined) throwWorst(result);
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
