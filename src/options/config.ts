import type { ErrorObject } from "ajv/dist/2020.js";
import type { Problem } from "../diagnostics/index.ts";
import { badValue } from "./bad-value.ts";
import type { OptionScalar, OptionSpec, OptionTable, OptionValue } from "./define.ts";
import { nearest } from "./nearest.ts";
import { allTables, documentSchema, type Tables } from "./schema.ts";
import { checkData } from "./value.ts";
import { asRecord, byPlace, type YamlPath as Path, pathOf, readYamlText, YamlSource } from "./yaml-source.ts";

export interface ConfigValues {
  readonly values: ReadonlyMap<string, { readonly value: OptionValue; readonly origin: string }>;
  readonly problems: readonly Problem[];
  /** Keys of this command with a problem. */
  readonly bad: readonly string[];
}

/** Reads and checks the whole file, the sections of other commands too; gives the values that concern `command`. */
export async function readConfig(file: string, origin: string, command: string): Promise<ConfigValues> {
  const config = new ConfigFile(
    new YamlSource(file, await readYamlText(file, origin, "correct the path, or leave out --config")),
    await allTables(),
  );
  return config.valuesFor(command);
}

class ConfigFile {
  readonly #source: YamlSource;
  readonly #tables: Tables;
  readonly #problems: Problem[];
  /** Paths with a problem, as `build.max_batch_size`. */
  readonly #bad = new Set<string>();

  constructor(source: YamlSource, tables: Tables) {
    this.#source = source;
    this.#tables = tables;
    this.#problems = [...source.problems];
    if (this.#problems.length > 0) return;
    for (const error of source.check(documentSchema(tables))) this.#report(error);
  }

  valuesFor(command: string): ConfigValues {
    const table = this.#tables[command] ?? {};
    const values = new Map<string, { value: OptionValue; origin: string }>();
    const bad = new Set<string>();
    for (const path of [[], [command]]) {
      for (const [key, data] of Object.entries(
        asRecord(path.length === 0 ? this.#source.data : asRecord(this.#source.data)[command]),
      )) {
        const spec = table[key];
        if (spec === undefined || spec.ignored !== undefined) continue;
        // At the top the name of a command is its section: plan, which is a flag of build as well.
        if (path.length === 0 && Object.hasOwn(this.#tables, key)) continue;
        const full = [...path, key];
        const value = this.#bad.has(full.join(".")) ? undefined : this.#value(key, spec, data, full);
        if (value === undefined) bad.add(key);
        else values.set(key, { value, origin: this.#source.at(full, "value") });
      }
    }
    return { values, problems: this.#problems.toSorted((a, b) => byPlace(a.at, b.at)), bad: [...bad] };
  }

  /** ajv says which place and which rule; the words are ours, from the option table. */
  #report(error: ErrorObject): void {
    const path = pathOf(error);
    if (error.keyword === "additionalProperties") {
      this.#unknownKey([...path, String(error.params.additionalProperty)]);
      return;
    }
    const owner = this.#owner(path);
    const dotted = (owner?.path ?? path).join(".");
    if (this.#bad.has(dotted)) return;
    this.#bad.add(dotted);
    this.#problems.push(
      owner === undefined
        ? this.#notMapping(path)
        : badValue(owner.key, owner.spec, this.#source.valueAt(path), this.#source.at(path, "value"), `${owner.key}: `),
    );
  }

  /** The option that a path leads to or into. */
  #owner(path: Path): { key: string; spec: OptionSpec; path: Path } | undefined {
    const [first, second] = path.map(String);
    if (first === undefined) return undefined;
    const section = this.#tables[first];
    if (section !== undefined) {
      const spec = second === undefined ? undefined : section[second];
      return spec === undefined ? undefined : { key: second as string, spec, path: path.slice(0, 2) };
    }
    const spec = Object.values(this.#tables).find(table => Object.hasOwn(table, first))?.[first];
    return spec === undefined ? undefined : { key: first, spec, path: path.slice(0, 1) };
  }

  #notMapping(path: Path): Problem {
    const name = path.length === 0 ? "the file" : `the section ${path.join(".")}`;
    return {
      code: "CFG006",
      at: this.#source.at(path),
      what: `${name} must map keys to values; got ${JSON.stringify(this.#source.valueAt(path))}`,
      why: "options are written as key: value, one a line",
      fix: "see docs/reference for the keys",
    };
  }

  #unknownKey(path: Path): void {
    const key = String(path.at(-1));
    const section = path.length > 1 ? String(path[0]) : undefined;
    const table = section === undefined ? undefined : this.#tables[section];
    const names =
      table === undefined
        ? [...Object.keys(this.#tables), ...new Set(Object.values(this.#tables).flatMap(Object.keys))]
        : Object.keys(table);
    this.#problems.push({
      code: "CFG005",
      at: this.#source.at(path),
      what: section === undefined ? `unknown key ${key}` : `mmtrt ${section} has no option ${key}`,
      why: "a key that is not known would be left out in silence",
      fix: this.#keyHint(key, table, names),
    });
  }

  #keyHint(key: string, table: OptionTable | undefined, names: readonly string[]): string {
    const tables = table === undefined ? Object.values(this.#tables) : [table];
    const modern = tables
      .flatMap(Object.entries)
      .find(([, spec]) => (spec as OptionSpec).aliases?.some(alias => alias.name === key));
    if (modern !== undefined) return `${key} is an old spelling: write ${modern[0]}${sumOf(key, modern[1])}`;
    const guess = nearest(key.replaceAll("-", "_"), names);
    return guess === undefined ? "take the key out" : `did you mean ${guess}?`;
  }

  #value(key: string, spec: OptionSpec, data: unknown, path: Path): OptionValue | undefined {
    const items = spec.list ? (Array.isArray(data) ? data : undefined) : [data];
    const checked = items?.map(item => checkData(spec, item));
    if (checked?.every(c => c.ok)) {
      const scalars = checked.map(c => (c as { value: OptionScalar }).value);
      return spec.list ? scalars : (scalars[0] as OptionScalar);
    }
    this.#problems.push(badValue(key, spec, data, this.#source.at(path, "value"), `${key}: `));
    return undefined;
  }
}

/** What the new number is made of, where the old key counts another thing. */
function sumOf(key: string, { aliases = [] }: OptionSpec): string {
  const plus = aliases.find(alias => alias.name === key)?.plus;
  return plus === undefined
    ? ""
    : `, which is ${plus} + ${key} (of an encoder-decoder ${key} + 1: it counts the answer alone)`;
}
