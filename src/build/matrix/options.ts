import type { OptionSpec, OptionTable, OptionValue } from "../../options/define.ts";
import { buildOptions } from "../../options/tables/build.ts";
import { convertOptions } from "../../options/tables/convert.ts";
import { checkData } from "../../options/value.ts";
import { type CellCommand, COMMANDS_OF_CELL } from "./cell.ts";

/** What a run decides for all its cells, or what only makes sense for a single command line. */
const RESERVED: Readonly<Record<CellCommand, readonly string[]>> = {
  convert: ["output_dir", "workers", "hash"],
  build: ["checkpoint_dir", "output_dir", "workers", "plan", "report", "force", "strict_profiles"],
};

const TABLES: Readonly<Record<CellCommand, OptionTable>> = { convert: convertOptions, build: buildOptions };

/** The options that a matrix may set, of one command. */
export const CELL_OPTIONS: Readonly<Record<CellCommand, OptionTable>> = {
  convert: without(convertOptions, RESERVED.convert),
  build: without(buildOptions, RESERVED.build),
};

/** Names of directories are no options of their own where a name stands for a whole model, but they can be varied too. */
export const AXIS_WORDS = ["model", "precision", "target"] as const;
export type AxisWord = (typeof AXIS_WORDS)[number];

export function isAxisWord(key: string): key is AxisWord {
  return (AXIS_WORDS as readonly string[]).includes(key);
}

/** The commands with an option of this name: a bare key in the file is meant for each. */
export function commandsWith(key: string): readonly CellCommand[] {
  return COMMANDS_OF_CELL.filter(command => Object.hasOwn(CELL_OPTIONS[command], key));
}

export function isReserved(key: string): boolean {
  return COMMANDS_OF_CELL.some(command => RESERVED[command].includes(key)) && commandsWith(key).length === 0;
}

export function specOf(command: CellCommand, key: string): OptionSpec {
  const spec = CELL_OPTIONS[command][key];
  if (spec === undefined) throw new Error(`${command} has no option ${key}`);
  return spec;
}

/** Every option with its default, `required` ones undefined. */
export function defaultsOf(command: CellCommand): Record<string, OptionValue | undefined> {
  return Object.fromEntries(Object.entries(TABLES[command]).map(([key, spec]) => [key, spec.default]));
}

/** The value with synonyms resolved, or undefined when it does not fit. A list option takes a single value too. */
export function readValue(spec: OptionSpec, data: unknown): OptionValue | undefined {
  const items = spec.list ? (Array.isArray(data) ? data : [data]) : [data];
  const values = items.flatMap(item => {
    const checked = checkData(spec, item);
    return checked.ok ? [checked.value] : [];
  });
  if (values.length !== items.length || values.length === 0) return undefined;
  return spec.list ? values : values[0];
}

function without(table: OptionTable, keys: readonly string[]): OptionTable {
  return Object.fromEntries(
    Object.entries(table).filter(([key, spec]) => !keys.includes(key) && spec.ignored === undefined),
  );
}
