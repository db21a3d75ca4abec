import { LiveLines } from "./live-lines.ts";
import type { Terminal } from "./terminal.ts";

/** A task of known size. `unit` "B" is shown as kB, MB, GB. */
export interface Progress {
  readonly id: string;
  readonly label: string;
  readonly done: number;
  readonly total: number;
  readonly unit?: string;
}

interface Task {
  progress: Progress;
  readonly started: number;
  /** Tenths already printed as lines, and when the last one was. */
  tenths: number;
  lastLine: number;
}

/** Bars are made anew at most this often; each call costs nothing in between. */
const REDRAW_MS = 80;
/** Lines come at most this often: of a task that takes less, the summary is enough. */
const LINE_MS = 1000;
const BAR_WIDTH = 24;
const DEFAULT_COLUMNS = 80;
/** Columns that ora takes for its dots, and the one that a full line would wrap at. */
const MARGIN = 3;

/** Several bars under one another on a terminal's stderr, plain lines elsewhere. */
export class ProgressView {
  readonly #terminal: Terminal;
  readonly #tasks = new Map<string, Task>();
  readonly #live: LiveLines;
  #lastDraw = Number.NEGATIVE_INFINITY;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.#live = new LiveLines(terminal);
  }

  /** Settled when the bars are on the screen: the code that draws them is loaded with the first. */
  get drawn(): Promise<void> {
    return this.#live.drawn;
  }

  show(progress: Progress): void {
    const known = this.#tasks.get(progress.id);
    const now = this.#terminal.now();
    const task = known ?? { progress, started: now, tenths: 0, lastLine: now };
    task.progress = progress;
    this.#tasks.set(progress.id, task);
    if (this.#canDraw) this.#bars(task);
    else this.#lines(task);
    if (progress.done >= progress.total) this.#tasks.delete(progress.id);
  }

  /** Lines of somebody else's making in place of bars; cut to the terminal, and drawn as often as bars are. */
  pin(lines: readonly string[]): void {
    if (!this.#canDraw) return;
    const now = this.#terminal.now();
    if (lines.length > 0 && now - this.#lastDraw < REDRAW_MS) return;
    const columns = (this.#terminal.stderr.columns ?? DEFAULT_COLUMNS) - MARGIN;
    this.#live.show(lines.map(line => [...line].slice(0, columns).join("")));
    this.#lastDraw = now;
  }

  /** Takes the bars off the screen, so that other text can be written; the next call draws them again. */
  hide(): void {
    this.#live.show([]);
    this.#lastDraw = Number.NEGATIVE_INFINITY;
  }

  /** A terminal that nobody has given a size says 0 columns, and ora would clear ⌈n / 0⌉ lines: without end. */
  get #canDraw(): boolean {
    const { isTTY, columns = DEFAULT_COLUMNS } = this.#terminal.stderr;
    return isTTY === true && columns > MARGIN;
  }

  #bars(task: Task): void {
    const ended = task.progress.done >= task.progress.total;
    const now = this.#terminal.now();
    if (!ended && now - this.#lastDraw < REDRAW_MS) return;
    if (ended) {
      this.#live.show([]);
      this.#terminal.stderr.write(`${this.#summary(task)}\n`);
    }
    const running = [...this.#tasks.values()].filter(t => t.progress.done < t.progress.total);
    this.#live.show(running.map(other => this.#bar(other)));
    this.#lastDraw = now;
  }

  #lines(task: Task): void {
    const { label, done, total } = task.progress;
    if (done >= total) {
      this.#terminal.stderr.write(`${this.#summary(task)}\n`);
      return;
    }
    const tenths = Math.floor((done / total) * 10);
    const now = this.#terminal.now();
    if (tenths <= task.tenths || now - task.lastLine < LINE_MS) return;
    task.tenths = tenths;
    task.lastLine = now;
    this.#terminal.stderr.write(`${label}  ${tenths * 10} %  ${this.#speed(task)}\n`);
  }

  #bar(task: Task): string {
    const { label, done, total } = task.progress;
    const part = total > 0 ? Math.min(1, done / total) : 1;
    const full = Math.round(part * BAR_WIDTH);
    const line = `${label}  ${"█".repeat(full)}${"░".repeat(BAR_WIDTH - full)} ${String(Math.floor(part * 100)).padStart(3)} %  ${this.#speed(task)}`;
    return [...line].slice(0, (this.#terminal.stderr.columns ?? DEFAULT_COLUMNS) - MARGIN).join("");
  }

  #speed(task: Task): string {
    const { done, total, unit } = task.progress;
    const seconds = (this.#terminal.now() - task.started) / 1000;
    if (seconds <= 0 || done <= 0) return formatAmount(total, unit);
    const rate = done / seconds;
    return `${formatAmount(done, unit)} of ${formatAmount(total, unit)}  ${formatAmount(rate, unit)}/s  ETA ${formatSeconds((total - done) / rate)}`;
  }

  #summary(task: Task): string {
    const { label, total, unit } = task.progress;
    return `${label}  ${formatAmount(total, unit)} in ${formatSeconds((this.#terminal.now() - task.started) / 1000)}`;
  }
}

/** `1.5 GB`, `12 layers`, `3`. Decimal prefixes, as disks are sold. */
export function formatAmount(amount: number, unit?: string): string {
  if (unit !== "B") return `${Number(amount.toPrecision(3))}${unit === undefined ? "" : ` ${unit}`}`;
  const power = Math.min(5, Math.max(0, Math.floor(Math.log10(Math.max(1, amount)) / 3)));
  return `${Number((amount / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB", "TB", "PB"][power]}`;
}

/** `0.4 s`, `12 s`, `3 min 05 s`, `2 h 01 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const pad = (n: number): string => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`;
}
