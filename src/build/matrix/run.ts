import type { ToolEnvironment } from "../../toolchain/tensorrt/request.ts";
import type { Cache } from "../cache/store.ts";
import { EventQueue } from "../event-queue.ts";
import { tooLarge } from "./budgets.ts";
import type { Cell, MatrixFile } from "./cell.ts";
import type { MatrixEvent, MatrixResult } from "./events.ts";
import type { History } from "./history.ts";
import { Ledger } from "./ledger.ts";
import type { Prepared } from "./prepare.ts";
import { MatrixRunner } from "./runner.ts";
import { type Clock, type Limits, schedule } from "./scheduler.ts";
import { idOf, type MatrixStep, type MatrixTask } from "./tasks.ts";
import type { TimingCaches } from "./timing.ts";

export interface MatrixRun {
  readonly file: MatrixFile;
  /** Those to be built: all of the file, or a shard, or what --only leaves. */
  readonly cells: readonly Cell[];
  readonly prepared: Prepared;
  readonly cache: Cache;
  readonly history: History;
  readonly limits: Limits;
  readonly version: string;
  readonly program: readonly [string, ...string[]];
  readonly env: ToolEnvironment;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly shard: string | null;
  readonly timing: TimingCaches;
}

export interface MatrixEnd {
  readonly bug: unknown;
  /** By cell and step: hashes of what is the same at every build. */
  readonly outputs: ReadonlyMap<string, Readonly<Record<string, string>>>;
}

/**
 * Builds the cells. Problems of steps are events and part of the result, not thrown: the other cells matter too. `bug` is
 * what was thrown that is nobody's input's fault. Errors: those of the cache itself, such as a disk that is full (CKP009).
 */
export async function* runMatrix(run: MatrixRun): AsyncGenerator<MatrixEvent, MatrixEnd> {
  const { file, cells, prepared, history, limits, clock } = run;
  // A reader of events that walks away stops the steps too.
  const stop = new AbortController();
  const signal = AbortSignal.any([run.signal, stop.signal]);
  const started = clock.now();
  const queue = new EventQueue<MatrixEvent>();
  const cellsOf = (plan: Parameters<typeof idOf>[0]): readonly Cell[] => prepared.cellsOfPlan.get(idOf(plan)) ?? [];
  const context = { ...run, signal, outputDir: file.outputDir, ...prepared, progress: () => undefined };
  const runner = new MatrixRunner(context, {
    cellsOf,
    onTasks: (plan, tasks) => {
      for (const task of tasks) open(task, task.step.key.kind === "cell" ? [task.step.cell] : cellsOf(plan.step.key));
    },
    onFound: (task, found) => {
      ledger.found(task, found);
      for (const cell of ledger.cellsOf(task)) history.note(cell, task.step.label, task.step.key);
    },
    onProgress: ({ step: { key, label } }, progress) =>
      queue.push({ event: "progress", kind: key.kind, key: key.key, label, ...progress }),
    onDamaged: (task, reason) => ledger.explain(task, `its result is damaged: ${reason}`),
  });
  const ledger = new Ledger(
    cells,
    cell => runner.dirOf(cell),
    () => (clock.now() - started) / 1000,
  );
  const open = (task: MatrixTask, own: readonly Cell[]): void => {
    const { cell, label, key } = task.step;
    ledger.open(
      task,
      own.map(({ name }) => name),
      history.reason(cell.name, label, key),
    );
  };
  for (const task of prepared.tasks) open(task, ownersOf(task, run));
  yield { event: "matrix", file: file.file, cells: cells.map(({ name }) => name), workers: limits.workers };
  const events = schedule<MatrixStep>(prepared.tasks, runner, limits, { signal, clock, tooLarge });
  const pump = (async () => {
    for await (const event of events) for (const told of ledger.take(event)) queue.push(told);
  })().finally(() => queue.close());
  try {
    yield* queue;
  } finally {
    stop.abort();
    await pump;
  }
  await history.save();
  run.signal.throwIfAborted();
  yield* ledger.unfinished();
  const result: MatrixResult = {
    file: file.file,
    version: run.version,
    workers: limits.workers,
    shard: run.shard,
    seconds: (clock.now() - started) / 1000,
    cells: ledger.cells(),
    steps: ledger.steps(),
  };
  yield { event: "finished", result };
  return { bug: ledger.bug, outputs: ledger.outputs() };
}

/** A conversion is for the cells of every plan that needs it. */
function ownersOf(task: MatrixTask, { prepared }: MatrixRun): readonly Cell[] {
  if (task.step.key.kind === "plan") return prepared.cellsOfPlan.get(task.id) ?? [];
  return prepared.tasks
    .filter(({ needs }) => needs.includes(task.id))
    .flatMap(({ id }) => prepared.cellsOfPlan.get(id) ?? []);
}

/** The system's own. */
export const REAL_CLOCK: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise(resolve => {
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      if (signal.aborted) done();
      else signal.addEventListener("abort", done);
    }),
};
