import { Writable } from "node:stream";

/**
 * A terminal's stderr as a grid of characters: what the user sees after all cursor movements, not what was written. Knows
 * what Node's tty.WriteStream offers and the sequences that ora writes; any other one throws.
 */
export class VirtualTerminal extends Writable {
  readonly isTTY = true;
  readonly columns: number;
  readonly rows = 24;
  cursorHidden = false;
  /** All that was written, sequences included. */
  text = "";
  readonly #lines: string[][] = [[]];
  #row = 0;
  #column = 0;

  constructor(columns: number) {
    super({ decodeStrings: false });
    this.columns = columns;
  }

  get screen(): string {
    const lines = this.#lines.map(line =>
      Array.from(line, char => char ?? " ")
        .join("")
        .trimEnd(),
    );
    return lines.join("\n").trimEnd();
  }

  override _write(text: string, _encoding: string, done: () => void): void {
    this.text += text;
    const [plain = "", ...escaped] = text.split("\u001b[");
    for (const char of plain) this.#put(char);
    for (const part of escaped) {
      const [sequence = ""] = /^[?\d;]*[A-Za-z]/.exec(part) ?? [];
      this.#obey(sequence);
      for (const char of part.slice(sequence.length)) this.#put(char);
    }
    done();
  }

  cursorTo(column: number): boolean {
    this.#column = column;
    return true;
  }

  moveCursor(_columns: number, rows: number): boolean {
    this.#row = Math.max(0, this.#row + rows);
    return true;
  }

  clearLine(): boolean {
    this.#lines[this.#row]?.splice(this.#column);
    return true;
  }

  #obey(sequence: string): void {
    if (sequence === "?25l" || sequence === "?25h") this.cursorHidden = sequence === "?25l";
    else if (!/^\?2026[hl]$/.test(sequence)) throw new Error(`ESC[${sequence} is not known`);
  }

  #put(char: string): void {
    if (char === "\n" || this.#column >= this.columns) {
      this.#row += 1;
      this.#column = 0;
    }
    const line = this.#lines[this.#row] ?? [];
    this.#lines[this.#row] = line;
    if (char !== "\n") line[this.#column++] = char;
  }
}
