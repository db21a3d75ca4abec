import { readFile, stat } from "node:fs/promises";
import { Ajv2020, type ErrorObject } from "ajv/dist/2020.js";
import { type Document, isNode, LineCounter, parseDocument } from "yaml";
import { fail, type Problem } from "../diagnostics/index.ts";
import { badValue } from "./bad-value.ts";
import type { OptionScalar, OptionSpec, OptionTable, OptionValue } from "./define.ts";
import { nearest } from "./nearest.ts";
import { allTables, documentSchema, type Tables } from "./schema.ts";
import { checkData } from "./value.ts";

export interface ConfigValues {
  readonly values: ReadonlyMap<string, { readonly value: OptionValue; readonly origin: string }>;
  readonly problems: readonly Problem[];
  /** Keys of this command with a problem. */
  readonly bad: readonly string[];
}

/** A hand-written file has a few kilobytes; this bounds what a wrong path can make us parse. */
const MAX_BYTES = 1 << 20;

type Path = readonly (string | number)[];

/** Reads and checks the whole file, the sections of other commands too; gives the values that concern `command`. */
export async function readConfig(file: string, origin: string, command: string): Promise<ConfigValues> {
  const config = new ConfigFile(file, await readText(file, origin), await allTables());
  return config.valuesFor(command);
}

async function readText(file: string, origin: string): Promise<string> {
  const cannot = (what: string, fix: string): never =>
    fail({ code: "CFG006", at: origin, what, why: "the options in it would be left out in silence", fix });
  const size = await stat(file).then(
    info => (info.isFile() ? info.size : undefined),
    (error: NodeJS.ErrnoException) =>
      cannot(`cannot read ${file}: ${error.code ?? error.message}`, "correct the path, or leave out --config"),
  );
  if (size === undefined) return cannot(`${file} is not a file`, "give the path of a YAML file");
  if (size > MAX_BYTES)
    return cannot(
      `${file} has ${size} bytes; at most ${MAX_BYTES} are read`,
      "give the path of a YAML file of options",
    );
  return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) =>
    cannot(`cannot read ${file}: ${error.code ?? error.message}`, "make the file readable"),
  );
}

class ConfigFile {
  readonly #file: string;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  readonly #tables: Tables;
  readonly #data: unknown;
  readonly #problems: Problem[] = [];
  /** Paths with a problem, as `build.max_batch_size`. */
  readonly #bad = new Set<string>();

  constructor(file: string, text: string, tables: Tables) {
    this.#file = file;
    this.#tables = tables;
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false });
    for (const { message, pos } of this.#document.errors) this.#problems.push(this.#syntax(message, pos[0]));
    this.#data = this.#problems.length > 0 ? undefined : this.#toData();
    if (this.#problems.length === 0 && this.#data !== undefined) this.#validate();
  }

  valuesFor(command: string): ConfigValues {
    const table = this.#tables[command] ?? {};
    const values = new Map<string, { value: OptionValue; origin: string }>();
    const bad = new Set<string>();
    for (const path of [[], [command]]) {
      for (const [key, data] of Object.entries(
        asRecord(path.length === 0 ? this.#data : asRecord(this.#data)[command]),
      )) {
        const spec = table[key];
        if (spec === undefined || spec.ignored !== undefined) continue;
        const full = [...path, key];
        const value = this.#bad.has(full.join(".")) ? undefined : this.#value(key, spec, data, full);
        if (value === undefined) bad.add(key);
        else values.set(key, { value, origin: this.#at(full, "value") });
      }
    }
    return { values, problems: this.#problems.toSorted((a, b) => byPlace(a.at, b.at)), bad: [...bad] };
  }

  /** An empty file is an empty mapping; alias bombs throw inside `toJS`. */
  #toData(): unknown {
    try {
      return this.#document.toJS({ maxAliasCount: 100 }) ?? {};
    } catch (error) {
      this.#problems.push(this.#syntax((error as Error).message, 0));
      return undefined;
    }
  }

  #syntax(message: string, offset: number): Problem {
    return {
      code: "CFG006",
      at: this.#position(offset),
      what: `not valid YAML: ${message}`,
      why: "the options in the file cannot be told apart",
      fix: "correct the file at this place",
    };
  }

  #validate(): void {
    const check = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true, verbose: false }).compile(
      documentSchema(this.#tables),
    );
    if (check(this.#data)) return;
    for (const error of check.errors ?? []) this.#report(error);
  }

  /** ajv says which place and which rule; the words are ours, from the option table. */
  #report(error: ErrorObject): void {
    const path = error.instancePath
      .split("/")
      .slice(1)
      .map(part => part.replaceAll("~1", "/").replaceAll("~0", "~"));
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
        : badValue(owner.key, owner.spec, this.#valueAt(path), this.#at(path, "value"), `${owner.key}: `),
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
      at: this.#at(path),
      what: `${name} must map keys to values; got ${JSON.stringify(this.#valueAt(path))}`,
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
      at: this.#at(path),
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
    if (modern !== undefined) return `${key} is an old spelling: write ${modern[0]}`;
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
    this.#problems.push(badValue(key, spec, data, this.#at(path, "value"), `${key}: `));
    return undefined;
  }

  #valueAt(path: Path): unknown {
    return path.reduce<unknown>(
      (data, part) => (Array.isArray(data) ? data[Number(part)] : asRecord(data)[part]),
      this.#data,
    );
  }

  /** `file:line:col` of a key, or of its value. */
  #at(path: Path, end: "key" | "value" = "key"): string {
    return this.#position(this.#offset(path, end) ?? 0);
  }

  #offset(path: Path, end: "key" | "value"): number | undefined {
    let node: unknown = this.#document.contents;
    let offset = startOf(node);
    for (const part of path) {
      const items = (node as { items?: readonly unknown[] } | null)?.items ?? [];
      const pair = items.find(item => keyOf(item) === String(part)) as { key: unknown; value: unknown } | undefined;
      node = pair === undefined ? items[Number(part)] : pair.value;
      offset =
        (end === "value" ? (startOf(node) ?? startOf(pair?.key)) : (startOf(pair?.key) ?? startOf(node))) ?? offset;
    }
    return offset;
  }

  #position(offset: number): string {
    const { line, col } = this.#lines.linePos(offset);
    return `${this.#file}:${Math.max(1, line)}:${Math.max(1, col)}`;
  }
}

/** Orders `file:line:col` as the file is read. */
function byPlace(a: string, b: string): number {
  const [line = 0, column = 0] = a.split(":").slice(-2).map(Number);
  const [otherLine = 0, otherColumn = 0] = b.split(":").slice(-2).map(Number);
  return line - otherLine || column - otherColumn;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function keyOf(item: unknown): string | undefined {
  const key = (item as { key?: { value?: unknown } } | undefined)?.key;
  return key === undefined || key === null ? undefined : String(key.value);
}

function asRecord(data: unknown): Readonly<Record<string, unknown>> {
  return typeof data === "object" && data !== null && !Array.isArray(data) ? (data as Record<string, unknown>) : {};
}
