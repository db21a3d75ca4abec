import { type Problem, throwIfAny } from "../../diagnostics/index.ts";

export type Triple = readonly [number, number, number];

/** What OpenAI's CLIP was trained with, and by default its kin. */
export const CLIP_MEAN: Triple = [0.48145466, 0.4578275, 0.40821073];
export const CLIP_STD: Triple = [0.26862954, 0.26130258, 0.27577711];

/** Keys that say nothing about the numbers: bookkeeping, and inputs of a call rather than of a processor. */
export const IGNORED: readonly string[] = [
  "image_processor_type",
  "feature_extractor_type",
  "processor_class",
  "auto_map",
  "device",
  "data_format",
  "input_data_format",
  "return_tensors",
  "disable_grouping",
  "do_convert_rgb",
  "pad_size",
  "image_seq_length",
];

/** Largest edge a processor may ask for: an engine's pixels are counted before they are allocated. */
const MAX_EDGE = 16_384;

const MAX_TILES = 1024;

/** Reads keys, remembers which, and reports all that is wrong at once. */
export class KeyReader {
  readonly #json: Readonly<Record<string, unknown>>;
  readonly #file: string;
  readonly #read = new Set<string>();
  readonly #problems: Problem[] = [];

  constructor(json: Readonly<Record<string, unknown>>, file: string) {
    this.#json = json;
    this.#file = file;
  }

  take(key: string): unknown {
    this.#read.add(key);
    return this.#json[key];
  }

  skip(key: string): undefined {
    this.#read.add(key);
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.take(key) ?? fallback;
    if (typeof value !== "boolean") this.problem(key, `is ${JSON.stringify(value)}; expected true or false`);
    return value === true;
  }

  number(key: string, fallback: number): number {
    const value = this.take(key) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    this.problem(key, `is ${JSON.stringify(value)}; expected a number`);
    return fallback;
  }

  index<T>(key: string, fallback: number, choices: readonly T[]): T {
    const value = this.take(key) ?? fallback;
    const choice = typeof value === "number" ? choices[value] : undefined;
    if (choice === undefined)
      this.problem(key, `is ${JSON.stringify(value)}; expected 0 to ${choices.length - 1} (${choices.join(", ")})`);
    return choice ?? (choices[0] as T);
  }

  triple(key: string, fallback: Triple): Triple {
    const value = this.take(key) ?? fallback;
    const all = typeof value === "number" ? [value, value, value] : value;
    if (Array.isArray(all) && all.length === 3 && all.every(v => typeof v === "number" && Number.isFinite(v))) {
      return all as unknown as Triple;
    }
    this.problem(key, `is ${JSON.stringify(value)}; expected three numbers, one a channel`);
    return fallback;
  }

  /** Of tiles. */
  count(key: string, fallback: number): number {
    const value = this.take(key) ?? fallback;
    if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= MAX_TILES) return value as number;
    this.problem(key, `is ${JSON.stringify(value)}; expected a whole number from 1 to ${MAX_TILES}`);
    return fallback;
  }

  edge(key: string, value: unknown): number {
    if (Number.isSafeInteger(value) && (value as number) > 0 && (value as number) <= MAX_EDGE) return value as number;
    this.problem(key, `is ${JSON.stringify(value)}; expected a whole number from 1 to ${MAX_EDGE}`);
    return 1;
  }

  problem(key: string, what: string): void {
    this.#problems.push({
      code: "RUN003",
      what: `${key} ${what}`,
      at: `${this.#file}: ${key}`,
      why: "it decides which pixels the vision encoder sees",
      fix: `give ${key.split(".")[0]} as the model was trained with`,
    });
  }

  finish(ignored: readonly string[]): void {
    const unknown = Object.entries(this.#json).filter(
      ([key, value]) => !this.#read.has(key) && !ignored.includes(key) && !key.startsWith("_") && value !== null,
    );
    for (const [key] of unknown) this.problem(key, "is a key this version does not know; expected it to be absent");
    throwIfAny(this.#problems);
  }
}
