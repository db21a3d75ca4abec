import type { TextTokenizer } from "./tokenizer.ts";

const REPLACEMENT = "\ufffd";

/**
 * Turns tokens into text as they come, and holds back what the next token may still change: bytes of an unfinished
 * character. All pieces together are what decoding all tokens at once gives.
 */
export class TextStream {
  readonly #tokenizer: TextTokenizer;
  readonly #ids: number[] = [];
  /** Tokens before this one can no longer change the text. */
  #start = 0;
  /** Tokens before this one have been given out. */
  #shown = 0;

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Text that is certain after `id`; often empty. */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.#pending();
    if (text === "" || text.endsWith(REPLACEMENT)) return "";
    this.#start = this.#shown;
    this.#shown = this.#ids.length;
    return text;
  }

  /** What is left, broken characters included. */
  end(): string {
    const text = this.#pending();
    this.#shown = this.#ids.length;
    return text;
  }

  /**
   * The tokens already shown since `start` are decoded again with the new ones: a tokenizer that strips the first
   * token's space, or joins bytes, needs to see what came before.
   */
  #pending(): string {
    const before = this.#tokenizer.decode(this.#ids.slice(this.#start, this.#shown));
    return this.#tokenizer.decode(this.#ids.slice(this.#start)).slice(before.length);
  }
}
