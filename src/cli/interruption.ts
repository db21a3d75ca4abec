import type { Ui } from "./ui.ts";

const EXIT = { SIGINT: 130, SIGTERM: 143, SIGPIPE: 141 } as const;

/**
 * Turns Ctrl-C and SIGTERM into an aborted signal, so that a command can stop and remove what is half written.
 * The second one ends the process at once. A closed stdout (`| head`) stops the command too, without a word.
 */
export class Interruption {
  readonly #controller = new AbortController();
  readonly #ui: () => Ui;
  readonly #onSignal = (name: "SIGINT" | "SIGTERM"): void => this.#stop(name);
  readonly #onPipe = (error: NodeJS.ErrnoException): void => this.#brokenPipe(error);
  #cause: keyof typeof EXIT | undefined;

  constructor(ui: () => Ui) {
    this.#ui = ui;
    process.on("SIGINT", this.#onSignal);
    process.on("SIGTERM", this.#onSignal);
  }

  /** The stream, with a closed reader handled. Streams are made when they are first asked for, which takes its time. */
  watched<S extends NodeJS.WriteStream>(stream: S): S {
    if (!stream.listeners("error").includes(this.#onPipe)) stream.on("error", this.#onPipe);
    return stream;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What the process must exit with; undefined when nothing interrupted it. */
  get exitCode(): number | undefined {
    return this.#cause === undefined ? undefined : EXIT[this.#cause];
  }

  close(): void {
    process.off("SIGINT", this.#onSignal);
    process.off("SIGTERM", this.#onSignal);
  }

  #stop(name: "SIGINT" | "SIGTERM"): void {
    if (this.#cause !== undefined) process.exit(EXIT[name]);
    this.#cause = name;
    this.#ui().info("stopping and cleaning up; once more ends mmtrt at once", { signal: name });
    this.#abort(name);
  }

  /** The stream's error handler stays to the end of the process: output may still be on its way. */
  #brokenPipe(error: NodeJS.ErrnoException): void {
    if (error.code !== "EPIPE") throw error;
    if (this.#cause !== undefined) return;
    this.#cause = "SIGPIPE";
    process.exitCode = EXIT.SIGPIPE;
    this.#abort("SIGPIPE");
  }

  #abort(name: string): void {
    this.#controller.abort(new DOMException(`stopped by ${name}`, "AbortError"));
  }
}
