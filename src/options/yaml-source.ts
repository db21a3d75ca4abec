import { readFile, stat } from "node:fs/promises";
import { Ajv2020, type ErrorObject } from "ajv/dist/2020.js";
import { type Document, isNode, LineCounter, parseDocument } from "yaml";
import { fail, type Problem } from "../diagnostics/index.ts";
import type { JsonSchema } from "./schema.ts";

/** A hand-written file has a few kilobytes; this bounds what a wrong path can make us parse. */
const MAX_BYTES = 256 << 10;
/** Keys of one mapping are compared with one another. */
const MAX_ITEMS = 5000;
/** The parser recurses, and a stack that runs out inside a regular expression ends the process. */
const MAX_DEPTH = 50;
const MAX_INDENT = 200;

export type YamlPath = readonly (string | number)[];

/** The text of a YAML file. Errors: CFG006 with `ifMissing` as the cure. */
export async function readYamlText(file: string, origin: string, ifMissing: string): Promise<string> {
  const cannot = (what: string, fix: string): never =>
    fail({ code: "CFG006", at: origin, what, why: "the options in it would be left out in silence", fix });
  const size = await stat(file).then(
    info => (info.isFile() ? info.size : undefined),
    (error: NodeJS.ErrnoException) => cannot(`cannot read ${file}: ${error.code ?? error.message}`, ifMissing),
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

/** A YAML file that is hostile until checked, with the line and column of each key and value. */
export class YamlSource {
  readonly file: string;
  /** Undefined when `problems` is not empty; an empty file is an empty mapping. */
  readonly data: unknown;
  readonly problems: readonly Problem[];
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(file: string, text: string) {
    this.file = file;
    const unlike = unlikeOptions(text);
    this.#document = parseDocument(unlike === undefined ? text : "", { lineCounter: this.#lines, prettyErrors: false });
    const problems = unlike === undefined ? [] : [this.#syntax(unlike, 0)];
    this.problems = problems;
    if (unlike !== undefined) return;
    problems.push(...this.#document.errors.map(({ message, pos }) => this.#syntax(message, pos[0])));
    if (problems.length === 0) {
      try {
        // Alias bombs throw inside toJS.
        this.data = this.#document.toJS({ maxAliasCount: 100 }) ?? {};
      } catch (error) {
        problems.push(this.#syntax((error as Error).message, 0));
      }
    }
  }

  /** What of `data` is not as the schema says; the words are the caller's. */
  check(schema: JsonSchema): readonly ErrorObject[] {
    const check = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true, verbose: true }).compile(schema);
    return check(this.data) ? [] : (check.errors ?? []);
  }

  valueAt(path: YamlPath): unknown {
    return path.reduce<unknown>(
      (data, part) => (Array.isArray(data) ? data[Number(part)] : asRecord(data)[part]),
      this.data,
    );
  }

  /** `file:line:col` of a key, or of its value. */
  at(path: YamlPath, end: "key" | "value" = "key"): string {
    return this.#position(this.#offset(path, end) ?? 0);
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

  #offset(path: YamlPath, end: "key" | "value"): number | undefined {
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
    return `${this.file}:${Math.max(1, line)}:${Math.max(1, col)}`;
  }
}

/** What makes a text too large or too deep to be parsed at all, before the parser sees it. */
function unlikeOptions(text: string): string | undefined {
  let [open, items] = [0, 0];
  for (const character of text) {
    if (character === "[" || character === "{") open++;
    if (character === "]" || character === "}") open = Math.max(0, open - 1);
    if (character === "\n" || character === ",") items++;
    if (open > MAX_DEPTH) return `brackets nest deeper than ${MAX_DEPTH} levels`;
    if (items > MAX_ITEMS) return `there are more than ${MAX_ITEMS} lines and items`;
  }
  for (const line of text.split(/[\r\n]/)) {
    if (line.search(/[^ \t]|$/) > MAX_INDENT) return `a line begins after column ${MAX_INDENT}`;
    const marks = line.match(/(?<![^ \t])[-?:](?=[ \t]|$)/g)?.length ?? 0;
    if (marks > MAX_DEPTH) return `a line begins more than ${MAX_DEPTH} lists or keys`;
  }
  return undefined;
}

/** The keys that ajv's instancePath (a JSON pointer) leads through. */
export function pathOf({ instancePath }: ErrorObject): readonly string[] {
  return instancePath
    .split("/")
    .slice(1)
    .map(part => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** Orders `file:line:col` as the file is read. */
export function byPlace(a: string, b: string): number {
  const [line = 0, column = 0] = a.split(":").slice(-2).map(Number);
  const [otherLine = 0, otherColumn = 0] = b.split(":").slice(-2).map(Number);
  return line - otherLine || column - otherColumn;
}

export function asRecord(data: unknown): Readonly<Record<string, unknown>> {
  return typeof data === "object" && data !== null && !Array.isArray(data) ? (data as Record<string, unknown>) : {};
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function keyOf(item: unknown): string | undefined {
  const key = (item as { key?: { value?: unknown } } | undefined)?.key;
  return key === undefined || key === null ? undefined : String(key.value);
}
