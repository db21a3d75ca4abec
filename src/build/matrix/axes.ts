import type { Problem } from "../../diagnostics/index.ts";
import type { OptionValue } from "../../options/define.ts";
import { nearest } from "../../options/nearest.ts";
import { convertOptions } from "../../options/tables/convert.ts";
import { sameValue } from "../../options/value.ts";
import { asRecord, type YamlPath } from "../../options/yaml-source.ts";
import type { Axis, AxisValue, Condition, Inclusion, Layer } from "./cell.ts";
import type { LayerReader } from "./layers.ts";
import { AXIS_WORDS, type AxisWord, commandsWith, isAxisWord } from "./options.ts";

/** The names that a word of the matrix may take, with what they stand for. */
export type Names = Readonly<Record<AxisWord, ReadonlyMap<string, Layer>>>;

/** Words that are precisions by themselves: the dtypes and the formats of --qformat. */
const DTYPES: readonly string[] = convertOptions.dtype.enum.filter(word => word !== "auto");
const DTYPE_SYNONYMS: Readonly<Record<string, string>> = convertOptions.dtype.synonyms;
const FORMATS: readonly string[] = convertOptions.qformat.enum;

/** What a precision that the file does not define stands for; undefined for an unknown word. */
export function wordOfPrecision(
  name: string,
): { readonly key: "dtype" | "qformat"; readonly value: string } | undefined {
  const dtype = DTYPES.includes(name) ? name : Object.hasOwn(DTYPE_SYNONYMS, name) ? DTYPE_SYNONYMS[name] : undefined;
  if (dtype !== undefined) return { key: "dtype", value: dtype };
  return FORMATS.includes(name) ? { key: "qformat", value: name } : undefined;
}

/** model, precision and target first, as names of cells begin with them; the models of the file where none are chosen. */
export function readAxes(reader: LayerReader, names: Names): readonly Axis[] {
  const { source } = reader;
  const data = asRecord(asRecord(source.data).matrix);
  const keys = [...AXIS_WORDS, ...Object.keys(data).filter(key => !isAxisWord(key))];
  return keys.flatMap((key): Axis[] => {
    if (key === "model" && data.model === undefined) {
      const all = [...names.model.keys()].map(name => ({ value: name, origin: source.at(["models", name]) }));
      return [{ key, values: all }];
    }
    if (data[key] === undefined) return [];
    const values = itemsOf(data[key], ["matrix", key]).flatMap(({ item, path }) =>
      axisValue(reader, key, item, path, names),
    );
    refuseTwice(reader, key, values);
    return [{ key, values }];
  });
}

function axisValue(reader: LayerReader, key: string, data: unknown, path: YamlPath, names: Names): AxisValue[] {
  const origin = reader.source.at(path, "value");
  const value = isAxisWord(key)
    ? wordValue(reader, key, data, origin, names)
    : reader.value(commandsWith(key)[0] ?? "build", key, data, path);
  return value === undefined ? [] : [{ value, origin }];
}

function wordValue(
  reader: LayerReader,
  key: AxisWord,
  data: unknown,
  origin: string,
  names: Names,
): OptionValue | undefined {
  const name = String(data);
  if (names[key].has(name) || (key === "precision" && wordOfPrecision(name) !== undefined)) return name;
  const known = [...names[key].keys(), ...(key === "precision" ? [...DTYPES, ...FORMATS] : [])];
  const guess = nearest(name, known);
  reader.problems.push({
    code: "MTX001",
    at: origin,
    what: `${key} ${name} is not defined; there ${known.length === 1 ? "is" : "are"} ${known.join(", ") || `no ${key}s`}`,
    why: `a ${key} stands for options, which are written under ${key}s`,
    fix: guess === undefined ? `define it under ${key}s:` : `did you mean ${guess}?`,
  });
  return undefined;
}

function refuseTwice(reader: LayerReader, key: string, values: readonly AxisValue[]): void {
  for (const [i, { value, origin }] of values.entries()) {
    const first = values.slice(0, i).find(other => sameValue(other.value, value));
    if (first === undefined) continue;
    reader.problems.push({
      code: "MTX004",
      at: origin,
      what: `${key} ${showValue(value)} is given twice, first at ${first.origin}`,
      why: "both would give cells of the same name",
      fix: "take one of them out",
    });
  }
}

/** Keys are axes of the matrix, and values are among theirs: a condition that can never hold is a slip. */
export function readCondition(reader: LayerReader, path: YamlPath, axes: readonly Axis[]): Condition {
  const { source } = reader;
  const wanted: Record<string, readonly OptionValue[]> = {};
  for (const [key, data] of Object.entries(asRecord(source.valueAt(path)))) {
    const axis = axes.find(one => one.key === key);
    if (axis === undefined) {
      reader.problems.push(noAxis(key, source.at([...path, key]), axes));
      continue;
    }
    wanted[key] = itemsOf(data, [...path, key]).flatMap(({ item, path: place }) => {
      const known = axis.values.find(({ value }) => means(value, key, item));
      if (known !== undefined) return [known.value];
      reader.problems.push(noValue(key, item, source.at(place, "value"), axis));
      return [];
    });
  }
  return { wanted, origin: source.at(path) };
}

export function readInclusion(reader: LayerReader, path: YamlPath, names: Names): Inclusion {
  const { source } = reader;
  const data = asRecord(source.valueAt(path));
  const axes: Record<string, AxisValue> = {};
  for (const [key, item] of Object.entries(data)) {
    if (!isAxisWord(key) && commandsWith(key).length === 0) continue;
    const [value] = axisValue(reader, key, item, [...path, key], names);
    if (value !== undefined) axes[key] = value;
  }
  const only = [...names.model.keys()];
  if (data.model === undefined) {
    if (only.length === 1 && only[0] !== undefined) axes.model = { value: only[0], origin: source.at(path) };
    else reader.problems.push(withoutModel(source.at(path), only));
  }
  // Options that are axes of this cell are settings at once.
  const layer = reader.layer(path);
  const name = typeof data.name === "string" ? { name: data.name } : {};
  return { ...name, axes, layer, origin: source.at(path) };
}

export function showValue(value: OptionValue): string {
  return Array.isArray(value) ? value.join("+") : String(value);
}

/** `fp16` in a condition is the float16 of an axis; a list option's single value is its list. */
function means(value: OptionValue, key: string, item: unknown): boolean {
  const text = key === "precision" ? (wordOfPrecision(String(item))?.value ?? String(item)) : String(item);
  const own = key === "precision" ? (wordOfPrecision(showValue(value))?.value ?? showValue(value)) : showValue(value);
  return own === text || JSON.stringify(value) === JSON.stringify(item);
}

function itemsOf(data: unknown, path: YamlPath): readonly { readonly item: unknown; readonly path: YamlPath }[] {
  return Array.isArray(data) ? data.map((item, i) => ({ item, path: [...path, i] })) : [{ item: data, path }];
}

function noAxis(key: string, at: string, axes: readonly Axis[]): Problem {
  const known = axes.map(axis => axis.key);
  const guess = nearest(key, known);
  return {
    code: "MTX002",
    at,
    what: `${key} is no axis of this matrix; there are ${known.join(", ")}`,
    why: "a condition on anything else would hold for all cells or for none",
    fix: guess === undefined ? `name one of ${known.join(", ")}` : `did you mean ${guess}?`,
  };
}

function noValue(key: string, item: unknown, at: string, { values }: Axis): Problem {
  const known = values.map(({ value }) => showValue(value));
  const guess = nearest(String(item), known);
  return {
    code: "MTX001",
    at,
    what: `${key} has no value ${JSON.stringify(item)}; there are ${known.join(", ")}`,
    why: "the condition could never hold",
    fix: guess === undefined ? "take it out, or add it to the axis" : `did you mean ${guess}?`,
  };
}

function withoutModel(at: string, names: readonly string[]): Problem {
  return {
    code: "MTX001",
    at,
    what: `the included cell names no model; there are ${names.join(", ")}`,
    why: "a cell is one engine directory of one model",
    fix: `model: ${names[0] ?? "NAME"}`,
  };
}
