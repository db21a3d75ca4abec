import type { OptionScalar, OptionSpec, OptionValue } from "./define.ts";

/** A value, or the text of what was expected instead. */
export type Checked =
  | { readonly ok: true; readonly value: OptionScalar; readonly note?: string }
  | { readonly ok: false; readonly expected: string };

const TRUE_WORDS = ["enable", "true", "on", "yes", "1"];
const FALSE_WORDS = ["disable", "false", "off", "no", "0"];
/** The words that may follow a boolean flag as a word of their own, as in TensorRT-LLM; others need `--flag=word`. */
export const SWITCH_WORDS: ReadonlySet<string> = new Set(["enable", "disable", "true", "false"]);

/** 24, 24G, 24GiB, 1.5 TB, 800MiB, 1073741824B. No flags: the JSON Schema has the same pattern. */
export const SIZE = /^(\d+\.?\d*|\.\d+) ?([KMGTkmgt](i?[Bb])?|[Bb])?$/;
const GIB = 1024 ** 3;

/** Bytes of a size's text; a number alone is GiB, as in every option that counts GiB. undefined where it is none. */
export function sizeBytes(text: string): number | undefined {
  const [, number = "", unit = ""] = SIZE.exec(text) ?? [];
  const power = "bkmgt".indexOf((unit[0] ?? "g").toLowerCase());
  // KB, MB, GB and TB are powers of 1000; a letter alone is what Docker and systemd take it for, a power of 1024.
  const scale = unit === "" ? GIB : (/^.[Bb]$/.test(unit) ? 1000 : 1024) ** power;
  const bytes = Math.floor(Number(number) * scale);
  return number !== "" && bytes >= 1 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** One value written as text: on the command line or in the environment. */
export function parseText(spec: OptionSpec, text: string): Checked {
  if (spec.words?.includes(text)) return { ok: true, value: text };
  if (spec.type === "boolean") {
    if (TRUE_WORDS.includes(text)) return { ok: true, value: true };
    if (FALSE_WORDS.includes(text)) return { ok: true, value: false };
    return { ok: false, expected: expectation(spec) };
  }
  if (spec.type === "integer" || spec.type === "number") {
    const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    return checkData(spec, number);
  }
  return checkData(spec, text);
}

/** One value that already has a type: from YAML, or a default. */
export function checkData(spec: OptionSpec, data: unknown): Checked {
  const bad: Checked = { ok: false, expected: expectation(spec) };
  if (typeof data === "string" && spec.words?.includes(data)) return { ok: true, value: data };
  switch (spec.type) {
    case "boolean":
      if (data === "enable" || data === "disable") return { ok: true, value: data === "enable" };
      return typeof data === "boolean" ? { ok: true, value: data } : bad;
    case "integer":
    case "number":
      return typeof data === "number" && inRange(spec, data) ? { ok: true, value: data } : bad;
    case "size":
      return typeof data === "number" || typeof data === "string" ? checkSize(String(data), bad) : bad;
    default:
      return typeof data === "string" ? checkString(spec, data, bad) : bad;
  }
}

/** The text stays as it was written: it is put into command lines and files again. */
function checkSize(text: string, bad: Checked): Checked {
  return sizeBytes(text) === undefined ? bad : { ok: true, value: text };
}

function inRange(spec: OptionSpec, value: number): boolean {
  if (spec.type === "integer" ? !Number.isSafeInteger(value) : !Number.isFinite(value)) return false;
  if (spec.minimum !== undefined && value < spec.minimum) return false;
  if (spec.exclusiveMinimum !== undefined && value <= spec.exclusiveMinimum) return false;
  return spec.maximum === undefined || value <= spec.maximum;
}

function checkString(spec: OptionSpec, text: string, bad: Checked): Checked {
  if (spec.type === "path") return text === "" ? bad : { ok: true, value: text };
  if (spec.enum === undefined || spec.enum.includes(text)) return { ok: true, value: text };
  const modern = spec.synonyms !== undefined && Object.hasOwn(spec.synonyms, text) ? spec.synonyms[text] : undefined;
  return modern === undefined ? bad : { ok: true, value: modern, note: `${text} is taken as ${modern}` };
}

/** `a whole number from 1 to 8, or auto`: the text of every value problem, of docs and of help. */
export function expectation(spec: OptionSpec): string {
  const words = (spec.words ?? []).map(word => `, or ${word}`).join("");
  if (spec.enum !== undefined) return `one of ${spec.enum.join(", ")}`;
  switch (spec.type) {
    case "boolean":
      return `true or false (also enable, disable)${words}`;
    case "integer":
      return `a whole number${range(spec)}${words}`;
    case "number":
      return `a number${range(spec)}${words}`;
    case "path":
      return "a path";
    case "size":
      return `a size as 24GiB, 800MiB or 1.5TiB, in GiB without a unit${words}`;
    case "string":
      return "text";
  }
}

function range(spec: OptionSpec): string {
  const above = spec.exclusiveMinimum !== undefined ? ` above ${spec.exclusiveMinimum}` : "";
  if (spec.minimum !== undefined && spec.maximum !== undefined) return ` from ${spec.minimum} to ${spec.maximum}`;
  if (spec.minimum !== undefined) return ` of at least ${spec.minimum}`;
  return spec.maximum === undefined ? above : `${above}${above === "" ? "" : ","} of at most ${spec.maximum}`;
}

/** Whether two resolved values are the same, lists by their items. */
export function sameValue(a: OptionValue, b: OptionValue): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

const PLACEHOLDERS: Readonly<Record<OptionSpec["type"], string>> = {
  integer: "N",
  number: "X",
  path: "PATH",
  size: "SIZE",
  string: "TEXT",
  boolean: "TEXT",
};

/** The value's stand-in in help: `N`, `DIR`, `auto|N`, `a|b|c`. */
export function placeholderOf(spec: OptionSpec): string {
  const own = spec.placeholder ?? spec.enum?.join("|") ?? PLACEHOLDERS[spec.type];
  const whole = [...(spec.words ?? []), own].join("|");
  return spec.list ? `${whole} …` : whole;
}
