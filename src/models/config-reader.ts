import { type Code, MmtrtError, type Problem } from "../diagnostics/index.ts";

/** Keys that count layers: each layer is rules, tensors and nodes in memory, so a number must not cost more than its digits. */
const LAYERS = /(^|_)layers?$/;
/** The deepest published models have about 130. */
export const MAX_LAYERS = 1024;

/**
 * Reads config.json key by key and remembers which keys were read: `finish()` reports every problem at once, unread
 * keys included, because a key nobody read may change numbers (a new `sliding_window` must not pass in silence).
 */
export class ConfigReader {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #file: string;
  readonly #read = new Set<string>();
  readonly #problems: Problem[];
  readonly #children: ConfigReader[] = [];
  readonly #warnings: Problem[];

  constructor(
    values: Readonly<Record<string, unknown>>,
    file: string,
    path = "",
    problems: Problem[] = [],
    warnings: Problem[] = [],
  ) {
    this.#values = values;
    this.#file = file;
    this.#path = path;
    this.#problems = problems;
    this.#warnings = warnings;
  }

  /** No problem so far: only then do comparisons between values mean anything. */
  get sound(): boolean {
    return this.#problems.length === 0;
  }

  /** What is worth saying about a config that is converted all the same. */
  get warnings(): readonly Problem[] {
    return this.#warnings;
  }

  /** `config.json: text_config.hidden_size`, the form every problem points with. */
  where(key: string): string {
    return `${this.#file}: ${this.#path}${key}`;
  }

  /** Present and not null: Hugging Face writes null for "not set". */
  has(key: string): boolean {
    return this.#values[key] !== undefined && this.#values[key] !== null;
  }

  raw(key: string): unknown {
    this.#read.add(key);
    return this.#values[key];
  }

  integer(key: string, fallback?: number): number {
    const most = LAYERS.test(key) ? MAX_LAYERS : Number.MAX_SAFE_INTEGER;
    return this.#typed(
      key,
      fallback,
      most === MAX_LAYERS ? `a whole number from 1 to ${MAX_LAYERS}` : "a positive whole number",
      v => Number.isSafeInteger(v) && (v as number) > 0 && (v as number) <= most,
    ) as number;
  }

  /** An integer that may be zero or negative (token ids, feature layers). */
  signed(key: string, fallback?: number): number {
    return this.#typed(key, fallback, "a whole number", v => Number.isSafeInteger(v)) as number;
  }

  number(key: string, fallback?: number): number {
    return this.#typed(key, fallback, "a number", v => typeof v === "number" && Number.isFinite(v)) as number;
  }

  boolean(key: string, fallback?: boolean): boolean {
    return this.#typed(key, fallback, "true or false", v => typeof v === "boolean") as boolean;
  }

  text(key: string, fallback?: string): string {
    return this.#typed(key, fallback, "a string", v => typeof v === "string") as string;
  }

  choice<T extends string>(key: string, choices: readonly T[], fallback?: T): T {
    return this.#typed(key, fallback, `one of ${choices.join(", ")}`, v => choices.includes(v as T)) as T;
  }

  /** The nested object under `key`; an absent one reads as empty, so that its fallbacks apply. */
  object(key: string): ConfigReader {
    const value = this.raw(key) ?? {};
    const usable = typeof value === "object" && !Array.isArray(value);
    if (!usable)
      this.problem(
        "SPC002",
        key,
        "is not an object",
        "the keys under it describe a part of the model",
        `give ${key} as { … }`,
      );
    const child = new ConfigReader(
      usable ? (value as Record<string, unknown>) : {},
      this.#file,
      `${this.#path}${key}.`,
      this.#problems,
      this.#warnings,
    );
    this.#children.push(child);
    return child;
  }

  /** Keys that are known not to change the numbers of inference (dropout, initializer_range, …). */
  ignore(...keys: readonly string[]): this {
    for (const key of keys) this.#read.add(key);
    return this;
  }

  /** A key whose only supported value is given: anything else would change numbers we do not compute. */
  only(key: string, supported: readonly unknown[], why: string): void {
    const value = this.raw(key);
    if (value === undefined || value === null || supported.includes(value)) return;
    this.problem(
      "SPC004",
      key,
      `is ${JSON.stringify(value)}; supported: ${supported.map(v => JSON.stringify(v)).join(", ")}`,
      why,
      `convert a checkpoint with ${key} ${JSON.stringify(supported[0])}`,
    );
  }

  problem(code: Code, key: string, what: string, why: string, fix: string): void {
    this.#problems.push({ code, what: `${this.#path}${key} ${what}`, at: this.where(key), why, fix });
  }

  warn(code: Code, key: string, what: string, why: string, fix: string): void {
    this.#warnings.push({ code, what: `${this.#path}${key} ${what}`, at: this.where(key), why, fix });
  }

  /** Returns `value` if every key was read and everything read was usable; throws all problems otherwise. */
  finish<T>(value: T): T {
    this.#reportUnread();
    if (this.#problems.length > 0) throw new MmtrtError(this.#problems);
    return value;
  }

  #reportUnread(): void {
    for (const child of this.#children) child.#reportUnread();
    for (const [key, value] of Object.entries(this.#values)) {
      if (this.#read.has(key) || key.startsWith("_") || (value ?? null) === null) continue;
      this.problem(
        "SPC003",
        key,
        "is a key this version does not know",
        "an unread key may change the model's numbers, and a wrong model must not look right",
        `remove ${key} if it has no effect on inference, or use a version of mmtrt that knows it`,
      );
    }
  }

  #typed(key: string, fallback: unknown, expected: string, fits: (value: unknown) => boolean): unknown {
    const value = this.raw(key);
    if ((value === undefined || value === null) && fallback !== undefined) return fallback;
    if (fits(value)) return value;
    const missing = value === undefined || value === null;
    this.problem(
      missing ? "SPC001" : "SPC002",
      key,
      missing ? `is missing; expected ${expected}` : `is ${JSON.stringify(value)}; expected ${expected}`,
      "the graph's shapes and numbers depend on it",
      missing ? `add ${key} to config.json as it was trained` : `give ${key} as ${expected}`,
    );
    return fallback ?? 1;
  }
}
