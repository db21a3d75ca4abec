import type { Problem } from "../../diagnostics/index.ts";
import type { Gguf, GgufValue } from "../../formats/gguf.ts";

/** Reads the keys of one section (`llama.`) and remembers which: a key nobody reads may change the model's numbers. */
export class GgufKeys {
  readonly #gguf: Gguf;
  readonly #section: string;
  readonly #read = new Set<string>();
  readonly #problems: Problem[] = [];

  constructor(gguf: Gguf, section: string) {
    this.#gguf = gguf;
    this.#section = section;
  }

  has(key: string): boolean {
    return this.#value(key) !== undefined;
  }

  /** A whole number ≥ 1. */
  count(key: string, fallback?: number): number {
    const value = this.#value(key) ?? fallback;
    if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
    this.unusable(key, value, "a whole number from 1 on");
    return 1;
  }

  number(key: string, fallback?: number): number {
    const value = this.#value(key) ?? fallback;
    if (typeof value === "number" && Number.isFinite(value)) return shortest(value);
    this.unusable(key, value, "a number");
    return 1;
  }

  text(key: string, fallback: string): string {
    const value = this.#value(key) ?? fallback;
    if (typeof value === "string") return value;
    this.unusable(key, value, "a text");
    return fallback;
  }

  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#read.add(this.#section + key);
  }

  /** A value that is there but whose effect we do not compute. */
  unsupported(key: string, supported: string): void {
    const value = this.#value(key);
    this.#problems.push({
      code: "CKP018",
      what: `${this.#section}${key} is ${show(value)}; supported: ${supported}`,
      at: this.#gguf.path,
      why: "the model's numbers depend on it",
      fix: "convert the original Hugging Face checkpoint",
    });
  }

  unusable(key: string, value: GgufValue | undefined, expected: string): void {
    this.#problems.push({
      code: "CKP016",
      what: `${this.#section}${key} is ${show(value)}; expected ${expected}`,
      at: this.#gguf.path,
      why: "the shapes and numbers of the model depend on it",
      fix: "download the file again, or convert the original Hugging Face checkpoint",
    });
  }

  /** Every problem seen, unread keys of the section included. */
  finish(): readonly Problem[] {
    const unread = [...this.#gguf.metadata.keys()].filter(key => key.startsWith(this.#section) && !this.#read.has(key));
    const problems = unread.map(
      (key): Problem => ({
        code: "CKP018",
        what: `${key.slice(0, 200)} is a key this version does not know`,
        at: this.#gguf.path,
        why: "an unread key may change the model's numbers, and a wrong model must not look right",
        fix: "convert the original Hugging Face checkpoint, or use a version of mmtrt that knows the key",
      }),
    );
    return [...this.#problems, ...problems];
  }

  #value(key: string): GgufValue | undefined {
    this.#read.add(this.#section + key);
    return this.#gguf.metadata.get(this.#section + key);
  }
}

/** GGUF keeps float32; the shortest decimal of the same float32 is what the model's author wrote (1e-05, not 9.99999974e-06). */
function shortest(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === value) return candidate;
  }
  return value;
}

function show(value: GgufValue | undefined): string {
  if (value === undefined) return "missing";
  return Array.isArray(value) ? `a list of ${value.length}` : String(value).slice(0, 200);
}
