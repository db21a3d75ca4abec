import { MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { bytesOfEntry } from "../cache/entry.ts";
import type { Found } from "../cache/store.ts";
import { fingerprint } from "../fingerprint.ts";
import type { Cell } from "./cell.ts";
import type { CellResult, CellState, MatrixEvent, StepResult } from "./events.ts";
import type { ScheduleEvent } from "./scheduler.ts";
import type { CellFacts } from "./step-cell.ts";
import type { MatrixStep, MatrixTask, PlanFacts } from "./tasks.ts";

interface Line {
  readonly task: MatrixTask;
  readonly cells: Set<string>;
  state: StepResult["state"];
  seconds: number;
  started: number | null;
  slot: number | null;
  attempts: number;
  found?: Found;
  error?: unknown;
  reason: string | null;
}

/** Keeps account of a run: which step was for which cells, how it went, and what that means for the cells. */
export class Ledger {
  readonly #lines = new Map<string, Line>();
  readonly #cells: readonly Cell[];
  readonly #dirOf: (cell: Cell) => string;
  readonly #now: () => number;

  constructor(cells: readonly Cell[], dirOf: (cell: Cell) => string, now: () => number) {
    this.#cells = cells;
    this.#dirOf = dirOf;
    this.#now = now;
  }

  /** A step is known, for these cells among others. */
  open(task: MatrixTask, cells: Iterable<string>, reason: string | null = null): void {
    const line = this.#lines.get(task.id);
    if (line !== undefined) for (const cell of cells) line.cells.add(cell);
    else
      this.#lines.set(task.id, {
        task,
        cells: new Set(cells),
        state: "skipped",
        seconds: 0,
        started: null,
        slot: null,
        attempts: 0,
        reason,
      });
  }

  explain(task: MatrixTask, reason: string): void {
    const line = this.#lines.get(task.id);
    if (line !== undefined) line.reason = reason;
  }

  found(task: MatrixTask, found: Found): void {
    this.#line(task).found = found;
  }

  cellsOf(task: MatrixTask): readonly string[] {
    return [...this.#line(task).cells];
  }

  /** The schedule's event as one for whoever looks on; also written down. */
  take(event: ScheduleEvent<MatrixStep>): readonly MatrixEvent[] {
    const line = this.#line(event.task);
    const { step } = event.task;
    const base = {
      event: "step" as const,
      kind: step.key.kind,
      label: step.label,
      key: step.key.key,
      cells: [...line.cells],
      ...(line.reason !== null && !(event.event === "done" && event.cached) && { reason: line.reason }),
    };
    switch (event.event) {
      case "start":
        line.started ??= this.#now();
        line.slot = event.slot;
        line.attempts++;
        return [{ ...base, state: "start", slot: event.slot }];
      case "done": {
        line.state = event.cached ? "cached" : "done";
        line.seconds = line.found?.entry.seconds ?? event.seconds;
        const done: MatrixEvent = { ...base, state: line.state, seconds: line.seconds };
        return step.key.kind === "cell" ? [done, this.#cellEvent(step.cell)] : [done];
      }
      case "elsewhere":
        line.started = null;
        return [{ ...base, state: "elsewhere" }];
      case "retry":
        return [{ ...base, state: "retry", problems: problemsOf(event.error) }];
      case "failed":
        line.state = "failed";
        line.seconds = event.seconds;
        line.error = event.error;
        return [{ ...base, state: "failed", seconds: event.seconds, problems: problemsOf(event.error) }];
      case "skipped":
        return [{ ...base, state: "skipped" }];
    }
  }

  /** What was thrown that is no problem of the user's. */
  get bug(): unknown {
    return [...this.#lines.values()].find(({ error }) => error !== undefined && !(error instanceof MmtrtError))?.error;
  }

  steps(): readonly StepResult[] {
    return [...this.#lines.values()].map(line => ({
      kind: line.task.step.key.kind,
      label: line.task.step.label,
      key: line.task.step.key.key,
      cells: [...line.cells],
      state: line.state,
      seconds: line.seconds,
      started: line.started,
      slot: line.slot,
      attempts: line.attempts,
      bytes: line.found === undefined ? 0 : bytesOfEntry(line.found.entry),
      peak_bytes: line.found?.entry.peak_bytes ?? null,
      reason: line.state === "cached" ? null : line.reason,
    }));
  }

  cells(): readonly CellResult[] {
    return this.#cells.map(cell => this.#cellResult(cell));
  }

  #cellResult(cell: Cell): CellResult {
    const lines = this.#linesOf(cell);
    const own = lines.find(({ task }) => task.step.key.kind === "cell");
    const plan = factsOf<PlanFacts>(lines, "plan");
    const convert = factsOf<{ readonly warnings: readonly Problem[] }>(lines, "convert");
    return {
      name: cell.name,
      axes: cell.axes,
      state: stateOf(lines, own),
      dir: this.#dirOf(cell),
      seconds: lines.reduce((sum, line) => sum + line.seconds, 0),
      engine_bytes: factsOf<CellFacts>(lines, "cell")?.engine_bytes ?? 0,
      memory_bytes: plan?.memory_peak ?? null,
      problems: lines.flatMap(({ error }) => (error === undefined ? [] : problemsOf(error))),
      warnings: [...(convert?.warnings ?? []), ...(plan?.warnings ?? [])],
    };
  }

  #cellEvent(cell: Cell): MatrixEvent {
    const { name, state, dir, seconds } = this.#cellResult(cell);
    return { event: "cell", name, state, dir, seconds };
  }

  /** By cell and label, a hash over all files of the results that are the same at every build. */
  outputs(): ReadonlyMap<string, Readonly<Record<string, string>>> {
    const same = (kind: string): boolean => kind === "convert" || kind === "graph";
    return new Map(
      this.#cells.map(cell => [
        cell.name,
        Object.fromEntries(
          this.#linesOf(cell).flatMap(({ task: { step }, found }) =>
            found === undefined || !same(step.key.kind) ? [] : [[step.label, fingerprint(found.entry.files)]],
          ),
        ),
      ]),
    );
  }

  /** The events of cells that did not come to their end. */
  unfinished(): readonly MatrixEvent[] {
    return this.#cells
      .filter(cell => ["failed", "skipped"].includes(this.#cellResult(cell).state))
      .map(cell => this.#cellEvent(cell));
  }

  #linesOf({ name }: Cell): readonly Line[] {
    return [...this.#lines.values()].filter(line => line.cells.has(name));
  }

  #line(task: MatrixTask): Line {
    const line = this.#lines.get(task.id);
    if (line === undefined) throw new Error(`${task.id} is not in the ledger`);
    return line;
  }
}

function stateOf(lines: readonly Line[], own: Line | undefined): CellState {
  if (lines.some(({ state }) => state === "failed")) return "failed";
  if (own === undefined || own.state === "skipped") return "skipped";
  return lines.every(({ state }) => state === "cached") ? "unchanged" : "built";
}

function factsOf<T>(lines: readonly Line[], kind: string): T | undefined {
  return lines.find(({ task }) => task.step.key.kind === kind)?.found?.entry.facts as T | undefined;
}

/** A failure as problems; a bug is none of the user's and has no code. */
function problemsOf(error: unknown): readonly Problem[] {
  return error instanceof MmtrtError ? error.problems : [];
}
