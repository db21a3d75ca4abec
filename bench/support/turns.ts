import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A program that answers a line of JSON with a line of JSON, so that two of them can work in turns. */
export class Turns {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(command: string, argv: readonly string[]) {
    this.#child = spawn(command, argv, { stdio: ["pipe", "pipe", "inherit"] });
    const { stdout } = this.#child;
    if (stdout === null) throw new Error("a pipe was asked for");
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  /** The first line, which nobody asked for. */
  async ready(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.#child.spawnargs.join(" ")} ended early`);
    return JSON.parse(value as string) as Record<string, unknown>;
  }

  ask(what: unknown): Promise<Record<string, unknown>> {
    this.#child.stdin?.write(`${JSON.stringify(what)}\n`);
    return this.ready();
  }

  close(): void {
    this.#child.stdin?.end();
  }
}
