import fc from "fast-check";

/** How a file is damaged: its bytes wherever they are, or values and keys of the JSON in it, which leaves it well-formed. */
export type Form = "bytes" | "text" | "json" | "safetensors";

/** One change to a file, as plain numbers and texts so that a failure can be printed, shrunk and run again. */
export interface Edit {
  readonly kind: string;
  /** Chooses the place; taken modulo the number of places. */
  readonly at: number;
  readonly length: number;
  /** Chooses a value of those below. */
  readonly value: number;
}

/** Values that readers have tripped over, as JSON text. */
const JSON_VALUES: readonly string[] = [
  ...["0", "-1", "1", "2", "3", "7", "65536", "1e9", "4294967296", "9007199254740991", "9007199254740993", "1e300"],
  ...["1e999", "-1e999", "-0", "0.5", "1e-320", "NaN", "null", "true", "false"],
  ...['""', '"a"', '"0"', '"__proto__"', '"constructor"', '"../../etc/passwd"', '"/etc/passwd"', '"a\\u0000b"'],
  ...["[]", "{}", "[[]]", "[0]", "[-1]", "[1e9]", "[null]", '["a"]', '{"__proto__":{"a":1}}', '{"a":[{}]}'],
  `"${"x".repeat(5000)}"`,
  `[${"0,".repeat(2000)}0]`,
  `${"[".repeat(60)}${"]".repeat(60)}`,
  "[".repeat(50_000),
];
const WORDS: readonly string[] = [
  ...["{", "}", "[", "]", '"', "'", ",", ":", "\\", "#", "-", "&a", "*a", "!!js/function", "|", ">", "\t", "\n", "\0"],
  ...["null", "true", "0", "-1", "1e999", "<<: *a", "{{", "}}", "{%", "%}", "\ud800", "é", "\u2028", "__proto__"],
  ...["a".repeat(3000), "{".repeat(3000), "- ".repeat(3000)],
];
const INTEGERS: readonly number[] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

const KINDS: Readonly<Record<Form, readonly string[]>> = {
  bytes: ["set", "flip", "flip", "cut", "remove", "insert", "repeat", "u16", "u32", "u64", "zero"],
  text: ["set", "flip", "cut", "remove", "repeat", "word", "word", "line", "line"],
  json: ["value", "value", "value", "value", "key", "drop", "twice", "swap", "set", "cut", "word"],
  safetensors: ["value", "value", "value", "key", "drop", "twice", "swap"],
};

/** One to three edits of a form; shrinks to fewer and earlier ones. */
export function editsOf(form: Form): fc.Arbitrary<readonly Edit[]> {
  const edit = fc.record({
    kind: fc.constantFrom(...KINDS[form]),
    at: fc.nat(0x7fffffff),
    length: fc.oneof(fc.nat(8), fc.nat(600)),
    value: fc.nat(999),
  });
  return fc.array(edit, { minLength: 1, maxLength: 3 });
}

/** The damaged copy. An edit that finds no place (a value to change in what is no JSON any more) changes nothing. */
export function damaged(source: Buffer, form: Form, edits: readonly Edit[]): Buffer {
  return edits.reduce((bytes, edit) => {
    if (form === "safetensors") return inHeader(bytes, edit);
    return isJsonEdit(edit) ? Buffer.from(editJson(bytes.toString("utf8"), edit)) : editBytes(bytes, edit);
  }, source);
}

function pick<T>(list: readonly T[], index: number): T {
  return list[index % list.length] as T;
}

function isJsonEdit({ kind }: Edit): boolean {
  return ["value", "key", "drop", "twice", "swap"].includes(kind);
}

/** The header's JSON is changed and its length with it: what a reader sees is well-formed and says something else. */
function inHeader(bytes: Buffer, edit: Edit): Buffer {
  const length = Number(bytes.readBigUInt64LE(0));
  const header = Buffer.from(editJson(bytes.toString("utf8", 8, 8 + length), edit));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([size, header, bytes.subarray(8 + length)]);
}

function editBytes(source: Buffer, { kind, at, length, value }: Edit): Buffer {
  if (source.length === 0) return source;
  const place = at % source.length;
  const end = Math.min(source.length, place + length);
  const number = pick(INTEGERS, value);
  const bytes = Buffer.from(source);
  const splice = (middle: Buffer, from = place): Buffer =>
    Buffer.concat([source.subarray(0, place), middle, source.subarray(from)]);
  switch (kind) {
    case "set":
      bytes[place] = number & 0xff;
      return bytes;
    case "flip":
      bytes[place] = (bytes[place] as number) ^ (1 << (length % 8));
      return bytes;
    case "cut":
      return source.subarray(0, place);
    case "remove":
      return splice(Buffer.alloc(0), end);
    case "insert":
      return splice(Buffer.alloc(length, number & 0xff));
    case "repeat":
      return splice(source.subarray(place, end));
    case "zero":
      return Buffer.from(bytes.fill(0, place, end));
    case "word":
      return splice(Buffer.from(pick(WORDS, value)));
    case "line":
      return editLine(source, place, value);
    default:
      return overwritten(bytes, place, { u16: 2, u32: 4, u64: 8 }[kind] ?? 1, number);
  }
}

function overwritten(bytes: Buffer, place: number, width: number, number: number): Buffer {
  const integer = Buffer.alloc(8);
  // The largest of each width, signed and unsigned, and small ones.
  integer.writeBigUInt64LE(number === 0xffffffff && width === 8 ? 2n ** 64n - 1n : BigInt(number));
  integer.copy(bytes, place, 0, Math.min(width, bytes.length - place));
  return bytes;
}

/** A line goes, comes twice, or moves in or out by two spaces. */
function editLine(source: Buffer, place: number, choice: number): Buffer {
  const begin = source.lastIndexOf("\n", place) + 1;
  const found = source.indexOf("\n", place);
  const end = found < 0 ? source.length : found + 1;
  const line = source.toString("utf8", begin, Math.max(begin, end));
  const put = [
    "",
    line + line,
    `  ${line}`,
    line.replace(/^ {2}/, ""),
    line.replace(/:.*/, ":"),
    line.replace(/:.*/, ": 1e999"),
  ];
  return Buffer.concat([
    source.subarray(0, begin),
    Buffer.from(put[choice % put.length] ?? ""),
    source.subarray(Math.max(begin, end)),
  ]);
}

interface Span {
  readonly start: number;
  readonly end: number;
}

function editJson(text: string, { kind, at, length, value }: Edit): string {
  const spans = jsonSpans(text);
  const wanted = kind === "value" || kind === "swap" ? spans.values : kind === "key" ? spans.keys : spans.members;
  const span = wanted[at % Math.max(1, wanted.length)];
  if (span === undefined) return text;
  const replaced = (put: string): string => text.slice(0, span.start) + put + text.slice(span.end);
  const own = text.slice(span.start, span.end);
  switch (kind) {
    case "value":
      return replaced(pick(JSON_VALUES, value));
    case "key":
      return replaced(JSON.stringify(["", "__proto__", "constructor", "a", "architectures", "dtype"][length % 6]));
    case "twice":
      return replaced(`${own},${own}`);
    case "swap": {
      const other = wanted[(at + length + 1) % wanted.length] ?? span;
      return replaced(text.slice(other.start, other.end));
    }
    default:
      // With the comma that would be left over.
      return (text.slice(0, span.start).replace(/,\s*$/, "") + text.slice(span.end)).replace(/([{[])(\s*),/, "$1$2");
  }
}

/** Places of values, keys and whole members (`"key": value`) of a JSON text; none where it is not JSON. */
function jsonSpans(text: string): Readonly<Record<"values" | "keys" | "members", Span[]>> {
  const found = { values: [] as Span[], keys: [] as Span[], members: [] as Span[] };
  const token = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+)/gy;
  const open: { start: number; key?: Span }[] = [{ start: 0 }];
  const close = (value: Span): void => {
    found.values.push(value);
    const holder = open.at(-1);
    if (holder?.key) found.members.push({ start: holder.key.start, end: value.end });
    if (holder) delete holder.key;
  };
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const word = match[1] as string;
    const span = { start: token.lastIndex - word.length, end: token.lastIndex };
    const isKey = word.startsWith('"') && /^\s*:/.test(text.slice(span.end, span.end + 8));
    const holder = open.at(-1);
    if (isKey && holder) {
      found.keys.push(span);
      holder.key = span;
    } else if (word === "{" || word === "[") open.push({ start: span.start });
    else if (word === "}" || word === "]") close({ start: open.pop()?.start ?? span.start, end: span.end });
    else if (word !== "," && word !== ":") close(span);
    if (open.length === 0) break;
  }
  return found;
}
