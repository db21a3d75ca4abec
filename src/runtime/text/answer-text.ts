import { TextStream } from "./stream.ts";
import type { TextTokenizer } from "./tokenizer.ts";

/**
 * The text of an answer while it grows. What may be the beginning of a stop text is held back until it is certain,
 * so a stop text is never shown, not even in part. With `strip` neither is white space around the answer: many
 * tokenizers have it in the first word, and TensorRT-LLM's multimodal runner and transformers' examples take it off.
 */
export class AnswerText {
  readonly #stream: TextStream;
  readonly #stops: readonly string[];
  readonly #strip: boolean;
  #shown = "";
  #held = "";
  #stopped = false;

  constructor(tokenizer: TextTokenizer, stops: readonly string[], strip = false) {
    this.#stream = new TextStream(tokenizer);
    this.#strip = strip;
    this.#stops = stops.filter(stop => stop !== "");
  }

  /** A stop text came; tokens after it change nothing. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** All that was shown. */
  get text(): string {
    return this.#shown;
  }

  /** Text to show after `id`; often empty. */
  push(id: number): string {
    return this.#stopped ? "" : this.#show(this.#stream.push(id), false);
  }

  /** What was held back, when no more tokens come. */
  end(): string {
    return this.#stopped ? "" : this.#show(this.#stream.end(), true);
  }

  #show(text: string, last: boolean): string {
    this.#held += text;
    const found = this.#stops.map(stop => this.#held.indexOf(stop)).filter(at => at >= 0);
    this.#stopped = found.length > 0;
    const until = this.#stopped ? Math.min(...found) : last ? this.#held.length : this.#certain();
    const certain = this.#held.slice(0, until);
    const shown = this.#strip ? this.#stripped(certain) : certain;
    // White space may turn out to be the answer's end, so it waits for what follows.
    const waits = this.#strip && !this.#stopped && !last ? certain.slice(certain.trimEnd().length) : "";
    this.#held = waits + this.#held.slice(until);
    this.#shown += shown;
    return shown;
  }

  #stripped(text: string): string {
    const words = text.trimEnd();
    return this.#shown === "" ? words.trimStart() : words;
  }

  /** Length of the held text without its longest end that begins a stop text. */
  #certain(): number {
    const longest = Math.max(0, ...this.#stops.map(stop => stop.length - 1));
    for (let from = Math.max(0, this.#held.length - longest); from < this.#held.length; from++) {
      if (this.#stops.some(stop => stop.startsWith(this.#held.slice(from)))) return from;
    }
    return this.#held.length;
  }
}
