import type { Ora } from "ora";
import type { Terminal } from "./terminal.ts";

/** ora's dots; at this pace they also say that a step of many minutes is alive. */
const INTERVAL_MS = 80;

/**
 * Lines at the bottom of a terminal's stderr that are drawn over and over, by ora: cursor, wide characters and terminals
 * that flicker are its work. Loaded with the first lines, since most commands end before they have anything to draw.
 */
export class LiveLines {
  readonly #terminal: Terminal;
  #lines: readonly string[] = [];
  #spinner: Ora | undefined;
  #loading: Promise<void> | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Draws these lines in place of the last ones; none takes them off. */
  show(lines: readonly string[]): void {
    this.#lines = lines;
    if (lines.length === 0) {
      if (this.#spinner?.isSpinning) this.#spinner.stop();
    } else if (this.#spinner !== undefined) this.#draw(this.#spinner);
    else this.#loading ??= this.#load();
  }

  /** Settled when lines that were shown are on the screen. */
  get drawn(): Promise<void> {
    return this.#loading ?? Promise.resolve();
  }

  async #load(): Promise<void> {
    const { ora } = await import("./ora.ts");
    this.#spinner = ora({
      // Only asked for where stderr is a terminal.
      stream: this.#terminal.stderr as NodeJS.WriteStream,
      isEnabled: true,
      discardStdin: false,
      color: false,
      interval: INTERVAL_MS,
    });
    if (this.#lines.length > 0) this.#draw(this.#spinner);
  }

  #draw(spinner: Ora): void {
    // The dots stand before the first line.
    spinner.text = this.#lines.join("\n  ");
    if (!spinner.isSpinning) spinner.start();
  }
}
