import { formatProblem, type Problem, printable, problemEvent } from "../diagnostics/index.ts";
import { type Progress, ProgressView } from "./ui/progress.ts";

import type { Terminal } from "./ui/terminal.ts";

export type { Progress } from "./ui/progress.ts";
export { type Cell, formatTable } from "./ui/table.ts";
export type { Terminal } from "./ui/terminal.ts";

/** Plain data of an NDJSON event. */
export type EventData = Readonly<Record<string, unknown>>;

/** What a command may show; with --json each call is one event and nothing else is on stdout. */
export interface Ui {
  readonly json: boolean;
  /** The command's answer: text on stdout, or `{ event: "result", ...data }`. */
  result(text: string, data: EventData): void;
  /** Something by the way: text on stderr, or `{ event: "info", message, ...data }`. */
  info(message: string, data?: EventData): void;
  warn(problem: Problem): void;
  error(problem: Problem): void;
  /** An error that mmtrt did not foresee, with its stack and the versions to report. */
  bug(stack: string, versions: Readonly<Record<string, string>>): void;
  /** Bars with rate and ETA on a terminal, lines at every tenth elsewhere. Call with done === total to end one. */
  progress(progress: Progress): void;
  /** Lines at the bottom of a terminal, in place of the last ones; nothing elsewhere, and none takes them off. */
  live(lines: readonly string[]): void;
  /** Text that grows on stdout while it is generated (tokens); `{ event: "text", text }` with --json. */
  stream(text: string): void;
  /** Any other event; text mode does not show it. */
  event(name: string, data: EventData): void;
  /** Takes off what is still drawn: bars of tasks that did not end would keep the process alive. */
  close(): void;
}

export interface UiOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: "auto" | "always" | "never";
  /** NO_COLOR is set. */
  readonly noColor: boolean;
}

const RED = 31;
const YELLOW = 33;

export function createUi(options: UiOptions, terminal: Terminal): Ui {
  return options.json ? new JsonUi(terminal) : new TextUi(options, terminal);
}

class JsonUi implements Ui {
  readonly json = true;
  readonly #terminal: Terminal;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  event(name: string, data: EventData): void {
    this.#terminal.stdout.write(`${JSON.stringify({ event: name, ...data })}\n`);
  }

  result(_text: string, data: EventData): void {
    this.event("result", data);
  }

  info(message: string, data: EventData = {}): void {
    this.event("info", { message, ...data });
  }

  warn(problem: Problem): void {
    this.#terminal.stdout.write(`${JSON.stringify(problemEvent(problem, "warning"))}\n`);
  }

  error(problem: Problem): void {
    this.#terminal.stdout.write(`${JSON.stringify(problemEvent(problem))}\n`);
  }

  bug(stack: string, versions: Readonly<Record<string, string>>): void {
    this.event("bug", { stack, ...versions });
  }

  progress(progress: Progress): void {
    this.event("progress", { ...progress });
  }

  live(): void {}

  stream(text: string): void {
    this.event("text", { text });
  }

  close(): void {}
}

class TextUi implements Ui {
  readonly json = false;
  readonly #quiet: boolean;
  readonly #terminal: Terminal;
  readonly #color: () => boolean;
  readonly #progress: ProgressView;
  /** Streamed text that has not ended its line yet. */
  #open = false;

  constructor(options: UiOptions, terminal: Terminal) {
    this.#quiet = options.quiet;
    this.#terminal = terminal;
    this.#color = () =>
      options.color === "always" || (options.color === "auto" && !options.noColor && terminal.stderr.isTTY === true);
    this.#progress = new ProgressView(terminal);
  }

  result(text: string): void {
    this.#out(`${this.#shown(text)}\n`);
  }

  info(message: string): void {
    if (!this.#quiet) this.#err(`${printable(message)}\n`);
  }

  warn(problem: Problem): void {
    this.#err(`${formatProblem(problem, "warning", text => this.#paint(text, YELLOW))}\n`);
  }

  error(problem: Problem): void {
    this.#err(`${formatProblem(problem, "error", text => this.#paint(text, RED))}\n`);
  }

  bug(stack: string, versions: Readonly<Record<string, string>>): void {
    const facts = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
    this.#err(
      `${this.#paint("bug in mmtrt", RED)}: ${stack}\nThis should not happen. Please report it with the lines above, the command, and: ${facts.join(", ")}\n`,
    );
  }

  progress(progress: Progress): void {
    if (!this.#quiet) this.#progress.show(progress);
  }

  live(lines: readonly string[]): void {
    if (!this.#quiet) this.#progress.pin(lines);
  }

  stream(text: string): void {
    this.#progress.hide();
    this.#terminal.stdout.write(this.#shown(text));
    this.#open = text === "" ? this.#open : !text.endsWith("\n");
  }

  event(): void {}

  close(): void {
    this.#progress.hide();
  }

  /** A file or a pipe gets what a model said byte for byte; a terminal would carry out what is in it. */
  #shown(text: string): string {
    return this.#terminal.stdout.isTTY === true ? printable(text) : text;
  }

  #out(text: string): void {
    this.#endLine();
    this.#terminal.stdout.write(text);
  }

  #err(text: string): void {
    this.#endLine();
    this.#terminal.stderr.write(text);
  }

  #endLine(): void {
    this.#progress.hide();
    if (this.#open) this.#terminal.stdout.write("\n");
    this.#open = false;
  }

  #paint(text: string, color: number): string {
    return this.#color() ? `\u001b[1;${color}m${text}\u001b[0m` : text;
  }
}
