import { fail, type Problem } from "../diagnostics/index.ts";
import { FilePool } from "./file.ts";

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export interface JsonLimits {
  /** Bytes of UTF-8; the largest tokenizer.json files have about 35 MB. */
  readonly maxBytes?: number;
  /** Brackets open at once; configs nest below 10, and readers of the value may recurse. */
  readonly maxDepth?: number;
  readonly maxValues?: number;
}

const MAX_BYTES = 64 << 20;
const MAX_DEPTH = 64;
/** `{},` takes 3 bytes of text and 90 of memory. The largest tokenizers have 2 million values. */
const MAX_VALUES = 2_500_000;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ESCAPES = '"\\/bfnrtu';

/** Strict JSON with one addition: duplicate keys are refused. Errors: CKP008 at `where:line:col`. */
export function parseJson(text: string, where: string, limits: JsonLimits = {}): Json {
  return new Parser(text, where, limits).document();
}

/** Like `parseJson`, from UTF-8 bytes. */
export function parseJsonBytes(bytes: Uint8Array, where: string, limits: JsonLimits = {}): Json {
  const maxBytes = limits.maxBytes ?? MAX_BYTES;
  if (bytes.byteLength > maxBytes) fail(tooLarge(where, bytes.byteLength, maxBytes));
  return parseJson(decodeUtf8(bytes, where), where, limits);
}

/** Errors: CKP001–CKP005 for the file, CKP008 for its text. */
export async function readJson(path: string, limits: JsonLimits = {}): Promise<Json> {
  const pool = new FilePool();
  try {
    const file = await pool.open(path);
    const maxBytes = limits.maxBytes ?? MAX_BYTES;
    if (file.size > maxBytes) fail(tooLarge(path, file.size, maxBytes));
    return parseJsonBytes(await file.read(0, file.size), path, limits);
  } finally {
    await pool.close();
  }
}

/** Like `readJson`, for files whose top level must be an object. */
export async function readJsonObject(path: string, limits: JsonLimits = {}): Promise<JsonObject> {
  const value = await readJson(path, limits);
  if (!isJsonObject(value)) fail(malformed(`${path}:1:1`, `the top level is not an object`));
  return value;
}

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

class Parser {
  readonly #text: string;
  readonly #where: string;
  readonly #maxDepth: number;
  readonly #maxValues: number;
  #pos = 0;
  #depth = 0;
  #values = 0;

  constructor(text: string, where: string, { maxDepth = MAX_DEPTH, maxValues = MAX_VALUES }: JsonLimits) {
    this.#text = text;
    this.#where = where;
    this.#maxDepth = maxDepth;
    this.#maxValues = maxValues;
  }

  document(): Json {
    const value = this.#value();
    if (this.#peek() !== undefined) this.#fail("there is text after the end of the value");
    return value;
  }

  #value(): Json {
    if (++this.#values > this.#maxValues) this.#fail(`there are more than ${this.#maxValues} values`);
    const next = this.#peek();
    if (next === "{") return this.#nested(() => this.#object());
    if (next === "[") return this.#nested(() => this.#array());
    if (next === '"') return this.#string();
    if (this.#word("true")) return true;
    if (this.#word("false")) return false;
    if (this.#word("null")) return null;
    return this.#number();
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > this.#maxDepth) this.#fail(`brackets nest deeper than ${this.#maxDepth} levels`);
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): JsonObject {
    const object: Record<string, Json> = {};
    this.#pos++;
    if (this.#take("}")) return object;
    do {
      if (this.#peek() !== '"') this.#fail("a key in double quotes is expected");
      const at = this.#pos;
      const key = this.#string();
      if (Object.hasOwn(object, key)) this.#fail(`the key ${JSON.stringify(key.slice(0, 200))} comes twice`, at);
      if (!this.#take(":")) this.#fail("':' is expected");
      const value = this.#value();
      // Assigning __proto__ would set the prototype instead of a key.
      if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true });
      else object[key] = value;
    } while (this.#take(","));
    if (!this.#take("}")) this.#fail("',' or '}' is expected");
    return object;
  }

  #array(): Json[] {
    const array: Json[] = [];
    this.#pos++;
    if (this.#take("]")) return array;
    do array.push(this.#value());
    while (this.#take(","));
    if (!this.#take("]")) this.#fail("',' or ']' is expected");
    return array;
  }

  #string(): string {
    const start = this.#pos++;
    let escaped = false;
    for (;;) {
      const code = this.#text.charCodeAt(this.#pos);
      if (code === 0x22) break;
      if (Number.isNaN(code)) this.#fail("the text ends inside a string");
      if (code < 0x20) this.#fail("a control character must be escaped in a string");
      escaped ||= code === 0x5c;
      if (code === 0x5c) this.#escape();
      else this.#pos++;
    }
    this.#pos++;
    // Every escape was looked at, so this cannot fail; put together here, each one would take 60 bytes until the end.
    if (escaped) return JSON.parse(this.#text.slice(start, this.#pos)) as string;
    return this.#text.slice(start + 1, this.#pos - 1);
  }

  #escape(): void {
    const letter = this.#text[this.#pos + 1] ?? "";
    if (letter === "u" && !/^[0-9a-fA-F]{4}$/.test(this.#text.slice(this.#pos + 2, this.#pos + 6)))
      this.#fail("\\u needs four hexadecimal digits");
    if (letter === "" || !ESCAPES.includes(letter)) this.#fail("an unknown escape in a string");
    this.#pos += letter === "u" ? 6 : 2;
  }

  #number(): number {
    NUMBER.lastIndex = this.#pos;
    const digits = NUMBER.exec(this.#text)?.[0];
    if (digits === undefined)
      this.#fail(this.#peek() === undefined ? "the text ends where a value is expected" : "a value is expected");
    this.#pos += digits.length;
    return Number(digits);
  }

  #word(word: string): boolean {
    if (!this.#text.startsWith(word, this.#pos)) return false;
    this.#pos += word.length;
    return true;
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#pos++;
    return true;
  }

  /** The next character that is not white space. */
  #peek(): string | undefined {
    for (;;) {
      const code = this.#text.charCodeAt(this.#pos);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return this.#text[this.#pos];
      this.#pos++;
    }
  }

  #fail(message: string, at = this.#pos): never {
    let line = 1;
    for (let end = this.#text.indexOf("\n"); end >= 0 && end < at; end = this.#text.indexOf("\n", end + 1)) line++;
    const column = at - (at === 0 ? -1 : this.#text.lastIndexOf("\n", at - 1));
    fail(
      malformed(
        `${this.#where}:${line}:${column}`,
        at >= this.#text.length ? `${message} (the file ends here)` : message,
      ),
    );
  }
}

function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    fail(malformed(where, "the bytes are not UTF-8"));
  }
}

function malformed(at: string, message: string): Problem {
  return {
    code: "CKP008",
    what: `not valid JSON: ${message}`,
    at,
    why: "the file was cut short, damaged or edited by hand",
    fix: "correct it at this position, or download it again",
  };
}

function tooLarge(where: string, size: number, limit: number): Problem {
  return {
    code: "CKP008",
    what: `${where} has ${size} bytes of JSON; at most ${limit} are read`,
    at: where,
    why: "no configuration or header of a real model is near this size",
    fix: "check that this is the right file",
  };
}
