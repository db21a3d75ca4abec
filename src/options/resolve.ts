import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import { type Mention, type ParsedArgv, parseArgv, positionalName } from "./argv.ts";
import { badValue } from "./bad-value.ts";
import { besideFile } from "./beside.ts";
import { COMMANDS, type CommandName } from "./commands.ts";
import type { OptionScalar, OptionSpec, OptionTable, OptionValue, Values } from "./define.ts";
import { ENV_PREFIX, type Environment, envName, optionVariables } from "./env.ts";
import { nearest } from "./nearest.ts";
import { commonOptions } from "./tables/common.ts";
import { parseText, placeholderOf, sameValue } from "./value.ts";

export interface Resolved<T extends OptionTable> {
  readonly options: Values<T>;
  /**
   * Where the user wrote the value, for `Problem.at`: `--tp_size (command line)`, `MMTRT_TP_SIZE (environment)`,
   * `mmtrt.yaml:4:12`, or `--tp_size (default)`. Takes `tp_size` and `build.tp_size`.
   */
  origin(key: string): string;
  /** Whether the user gave the option at all. */
  given(key: string): boolean;
  /** The words after `--`. */
  readonly passthrough: readonly string[];
  /** Old spellings and their modern forms: to be shown, never an error. */
  readonly notes: readonly string[];
}

export interface ResolveInput {
  readonly argv: readonly string[];
  readonly env: Environment;
  /** Whether words after `--` are wanted. */
  readonly passthrough?: boolean;
}

/** A value as the user gave it, with the place. */
interface Given {
  readonly value: OptionValue;
  readonly origin: string;
}

/** flag > environment > YAML (`--config`) > default. Throws one MmtrtError with everything that is wrong. */
export async function resolve<T extends OptionTable>(
  command: CommandName,
  table: T,
  input: ResolveInput,
): Promise<Resolved<T>> {
  const resolver = new Resolver(command, { ...commonOptions, ...table }, input);
  await resolver.run();
  throwIfAny(resolver.problems);
  return {
    options: resolver.values(table) as Values<T>,
    origin: key => resolver.origin(key.slice(key.lastIndexOf(".") + 1)),
    given: key => resolver.given.has(key),
    passthrough: resolver.argv.passthrough ?? [],
    notes: resolver.notes,
  };
}

/** The options of every command, read leniently: they say how to print even when the rest of the line is wrong. */
export function peekCommon(
  argv: readonly string[],
  env: Environment,
  table: OptionTable = {},
): Values<typeof commonOptions> {
  const mentions = parseArgv({ ...commonOptions, ...table }, argv).mentions;
  const read = ([key, spec]: [string, OptionSpec]): [string, OptionValue | undefined] => {
    const text = mentions.findLast(m => m.key === key)?.texts[0] ?? env[envName(key)];
    const checked = text === undefined ? undefined : parseText(spec, text);
    return [key, checked?.ok ? checked.value : spec.default];
  };
  return Object.fromEntries(Object.entries(commonOptions).map(read)) as Values<typeof commonOptions>;
}

class Resolver {
  readonly given = new Map<string, Given>();
  readonly problems: Problem[];
  readonly notes: string[];
  readonly argv: ParsedArgv;
  readonly #command: CommandName;
  readonly #table: OptionTable;
  readonly #input: ResolveInput;
  /** Options with a reported problem: not to be reported as missing on top. */
  readonly #bad: Set<string>;
  readonly #sums: { readonly key: string; readonly plus: string; readonly flag: string }[] = [];

  constructor(command: CommandName, table: OptionTable, input: ResolveInput) {
    this.#command = command;
    this.#table = table;
    this.#input = input;
    this.argv = parseArgv(table, input.argv);
    this.problems = [...this.argv.problems()];
    this.notes = [...this.argv.notes];
    this.#bad = new Set(this.argv.bad);
  }

  async run(): Promise<void> {
    if (this.argv.passthrough !== undefined && !this.#input.passthrough) this.#refusePassthrough();
    for (const mention of this.argv.mentions) this.#fromFlag(mention);
    await this.#fromEnvironment();
    await this.#fromConfig();
    this.#addSums();
    this.#findMissing();
  }

  values(table: OptionTable): Record<string, OptionValue | undefined> {
    return Object.fromEntries(
      Object.entries(table).map(([key, spec]) => [key, this.given.get(key)?.value ?? spec.default]),
    );
  }

  origin(key: string): string {
    return this.given.get(key)?.origin ?? `--${key} (default)`;
  }

  #spec(key: string): OptionSpec {
    return this.#table[key] as OptionSpec;
  }

  #fromFlag({ key, flag, texts, alias }: Mention): void {
    const spec = this.#spec(key);
    const origin = `${flag} (command line)`;
    const words = alias?.values === undefined ? texts : texts.map(text => alias.values?.[text] ?? text);
    const value = this.#parse(key, spec, words, origin, flag);
    if (value === undefined) return;
    const before = this.given.get(key);
    if (before !== undefined && spec.list) {
      this.given.set(key, {
        value: [...(before.value as readonly OptionScalar[]), ...(value as readonly OptionScalar[])],
        origin,
      });
      return;
    }
    if (before !== undefined && !sameValue(before.value, value)) this.#refuseTwice(key, before, value, origin);
    if (alias?.plus !== undefined) this.#sums.push({ key, plus: alias.plus, flag });
    else if (alias !== undefined) this.notes.push(`${flag} is an old spelling: write --${key} ${shown(value)}`);
    if (spec.deprecated !== undefined) this.notes.push(`${flag} is deprecated: ${spec.deprecated}`);
    if (spec.ignored !== undefined) this.notes.push(`${flag} has no effect: ${spec.ignored}`);
    this.given.set(key, { value, origin });
  }

  async #fromEnvironment(): Promise<void> {
    const names = optionVariables(this.#input.env);
    if (names.length === 0) return;
    const own = new Map(Object.keys(this.#table).map(key => [envName(key), key]));
    const known = new Set(own.keys());
    for (const { table } of Object.values(COMMANDS))
      for (const key of Object.keys(await table())) known.add(envName(key));
    for (const name of names) {
      const key = own.get(name);
      const text = this.#input.env[name] ?? "";
      if (key !== undefined) this.#fromVariable(key, name, text);
      else if (!known.has(name)) this.#refuseVariable(name, known);
    }
  }

  #fromVariable(key: string, name: string, text: string): void {
    if (this.given.has(key)) return;
    const spec = this.#spec(key);
    const texts = spec.list && spec.commas !== false ? text.split(",").map(part => part.trim()) : [text];
    const value = this.#parse(key, spec, texts, `${name} (environment)`, name);
    if (value !== undefined) this.given.set(key, { value, origin: `${name} (environment)` });
  }

  async #fromConfig(): Promise<void> {
    const config = this.given.get("config");
    if (config === undefined) return;
    const file = config.value as string;
    const { readConfig } = await import("./config.ts");
    const found = await readConfig(file, config.origin, this.#command);
    this.problems.push(...found.problems);
    for (const key of found.bad) this.#bad.add(key);
    for (const [key, { value, origin }] of found.values) {
      const spec = this.#table[key];
      if (spec === undefined || this.given.has(key)) continue;
      const move = (path: OptionScalar): string => besideFile(file, String(path), spec);
      const moved = Array.isArray(value) ? value.map(move) : move(value as OptionScalar);
      this.given.set(key, { value: spec.type === "path" ? moved : value, origin });
    }
  }

  /** Parses each text; undefined once a problem has been reported. */
  #parse(
    key: string,
    spec: OptionSpec,
    texts: readonly string[],
    origin: string,
    typed: string,
  ): OptionValue | undefined {
    const values: OptionScalar[] = [];
    for (const text of texts) {
      const checked = parseText(spec, text);
      if (checked.ok) {
        values.push(checked.value);
        if (checked.note !== undefined) this.notes.push(`${typed}: ${checked.note}`);
        continue;
      }
      this.#bad.add(key);
      this.problems.push(badValue(key, spec, text, origin, typed.startsWith(ENV_PREFIX) ? `${typed}=` : `--${key} `));
    }
    if (values.length !== texts.length) return undefined;
    return spec.list ? values : values[0];
  }

  #addSums(): void {
    for (const { key, plus, flag } of this.#sums) {
      const { value, origin } = this.given.get(key) as Given;
      const other = this.given.get(plus)?.value ?? this.#spec(plus).default;
      if (typeof value !== "number" || typeof other !== "number") continue;
      this.given.set(key, { value: value + other, origin });
      this.notes.push(`${flag} is an old spelling: write --${key} ${value + other} (${plus} ${other} + ${value})`);
    }
  }

  #findMissing(): void {
    for (const [key, spec] of Object.entries(this.#table)) {
      if (!spec.required || this.given.has(key) || this.#bad.has(key)) continue;
      const name = spec.positional ? positionalName(key, spec) : `--${key}`;
      this.problems.push({
        code: "CFG004",
        at: `${name} (command line)`,
        what: `${name} is missing`,
        why: spec.about,
        fix: spec.positional ? `mmtrt ${this.#command} ${name}` : `${name} ${placeholderOf(spec)}`,
      });
    }
  }

  #refuseTwice(key: string, before: Given, value: OptionValue, origin: string): void {
    this.#bad.add(key);
    this.problems.push({
      code: "CFG010",
      at: origin,
      what: `${key} is given twice: ${shown(before.value)} by ${before.origin}, then ${shown(value)}`,
      why: "one of the two would be dropped in silence",
      fix: `keep one --${key}`,
    });
  }

  #refuseVariable(name: string, known: ReadonlySet<string>): void {
    const guess = nearest(name, known);
    this.problems.push({
      code: "CFG007",
      at: `${name} (environment)`,
      what: `${name} sets no option`,
      why: `variables that begin with ${ENV_PREFIX} set options, so this one is a misspelling`,
      fix: guess === undefined ? `unset ${name}` : `did you mean ${guess}?`,
    });
  }

  #refusePassthrough(): void {
    this.problems.push({
      code: "CFG011",
      at: "-- (command line)",
      what: `mmtrt ${this.#command} passes nothing on, got -- ${this.argv.passthrough?.join(" ") ?? ""}`.trimEnd(),
      why: "only commands that run another tool take words after --",
      fix: "leave out -- and what follows",
    });
  }
}

function shown(value: OptionValue): string {
  return Array.isArray(value) ? value.join(" ") : String(value);
}
