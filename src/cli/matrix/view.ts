import type { MatrixEvent, MatrixResult } from "../../build/matrix/events.ts";
import { showBytes } from "../../rules/rule.ts";
import { formatSeconds } from "../ui/progress.ts";
import type { Ui } from "../ui.ts";
import { formatTable } from "../ui.ts";

/** Rows of running steps in the live table: a terminal has some 24 lines. */
const MOST_ROWS = 12;

interface Running {
  readonly text: string;
  readonly started: number;
  percent: number | undefined;
}

/** A live table of what runs on a terminal, a line for every step that was done everywhere, the cells at the end. */
export class MatrixView {
  readonly #ui: Ui;
  readonly #explain: boolean;
  readonly #running = new Map<string, Running>();
  readonly #timer: NodeJS.Timeout;
  #cells = 0;
  #finished = 0;
  #cached = 0;
  #done = 0;

  constructor(ui: Ui, { explain }: { readonly explain: boolean }) {
    this.#ui = ui;
    this.#explain = explain;
    this.#timer = setInterval(() => this.#draw(), 250);
    this.#timer.unref();
  }

  show(event: MatrixEvent): void {
    switch (event.event) {
      case "matrix":
        this.#cells = event.cells.length;
        this.#ui.event("matrix", rest(event));
        return;
      case "step":
        this.#step(event);
        return;
      case "progress": {
        const running = this.#running.get(`${event.kind}-${event.key}`);
        if (running !== undefined) running.percent = Math.floor((100 * event.done) / Math.max(1, event.total));
        this.#ui.event("progress", rest(event));
        return;
      }
      case "note":
        this.#ui.info(event.message);
        return;
      case "warning":
        this.#ui.warn(event.problem);
        return;
      case "cell":
        this.#finished++;
        this.#ui.event("cell", rest(event));
        return;
      case "finished":
        this.close();
        this.#ui.result(summary(event.result), { ...event.result });
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#running.clear();
    this.#ui.live([]);
  }

  #step(event: MatrixEvent & { readonly event: "step" }): void {
    const { state, kind, key, label, cells, seconds = 0, reason } = event;
    const id = `${kind}-${key}`;
    const name = `${label} of ${cells[0] ?? ""}${cells.length > 1 ? ` and ${cells.length - 1} more` : ""}`;
    const { reason: _, ...data } = rest(event);
    this.#ui.event("step", { ...data, ...(this.#explain && reason !== undefined && { reason }) });
    if (state === "start") this.#running.set(id, { text: name, started: performance.now(), percent: undefined });
    else this.#running.delete(id);
    if (state === "cached") this.#cached++;
    if (state === "done") {
      this.#done++;
      const why = this.#explain && reason !== undefined ? `: ${reason}` : "";
      if (!this.#ui.json) this.#ui.info(`${name}  ${formatSeconds(seconds)}${why}`);
    }
    if (state === "elsewhere" && !this.#ui.json)
      this.#elsewhere.has(id) || this.#ui.info(`${name}  another process is at it`);
    if (state === "elsewhere") this.#elsewhere.add(id);
    if (state === "retry" && !this.#ui.json)
      this.#ui.info(`${name}  is tried again: ${event.problems?.[0]?.what ?? "an error that may pass"}`);
    if (state === "failed" && !this.#ui.json) this.#ui.info(`${name}  failed after ${formatSeconds(seconds)}`);
    this.#draw();
  }

  readonly #elsewhere = new Set<string>();

  #draw(): void {
    if (this.#running.size === 0) return;
    const rows = [...this.#running.values()]
      .slice(0, MOST_ROWS)
      .map(({ text, started, percent }) => [
        text,
        percent === undefined ? "" : `${percent} %`,
        formatSeconds((performance.now() - started) / 1000),
      ]);
    const more = this.#running.size - rows.length;
    const head = `${this.#finished} of ${this.#cells} cells, ${this.#done} steps done, ${this.#cached} found`;
    const table = formatTable(["", "", ""], rows).split("\n").slice(1);
    this.#ui.live([head, ...table, ...(more > 0 ? [`and ${more} more`] : [])]);
  }
}

/** The cells as a table, and a line that says what was done. */
export function summary({ cells, steps, seconds }: MatrixResult): string {
  const rows = cells.map(({ name, state, engine_bytes: size, seconds: took, memory_bytes: memory, problems }) => [
    name,
    state,
    size === 0 ? "" : showBytes(size),
    memory === null ? "" : showBytes(memory),
    formatSeconds(took),
    problems[0]?.code ?? "",
  ]);
  const count = (state: string): number => steps.filter(step => step.state === state).length;
  const failed = cells.filter(({ state }) => state === "failed" || state === "skipped").length;
  const verdict = failed === 0 ? `${cells.length} cells ready` : `${failed} of ${cells.length} cells not built`;
  const line = `${verdict} in ${formatSeconds(seconds)}: ${count("done")} steps done, ${count("cached")} found in the cache`;
  return cells.length === 0
    ? "no cells in this shard"
    : `${formatTable(["cell", "state", "engines", "GPU memory", "steps", ""], rows)}\n${line}`;
}

function rest(event: MatrixEvent): Record<string, unknown> {
  const { event: _, ...data } = event;
  return data;
}
