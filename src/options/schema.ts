import { COMMANDS } from "./commands.ts";
import type { OptionSpec, OptionTable } from "./define.ts";
import { SIZE } from "./value.ts";

/** JSON Schema, draft 2020-12 as far as it is used here. */
export type JsonSchema = { readonly [key: string]: unknown };

/** The schema of one option's value as YAML or JSON writes it. */
export function optionSchema(spec: OptionSpec): JsonSchema {
  const one = scalarSchema(spec);
  const value = spec.list ? { type: "array", items: one } : one;
  return { description: spec.about, ...value, ...(spec.default !== undefined && { default: spec.default }) };
}

function scalarSchema(spec: OptionSpec): JsonSchema {
  const words = spec.words ?? [];
  const base = baseSchema(spec);
  return words.length === 0 ? base : { anyOf: [base, { enum: words }] };
}

function baseSchema(spec: OptionSpec): JsonSchema {
  if (spec.enum !== undefined) return { enum: [...spec.enum, ...Object.keys(spec.synonyms ?? {})] };
  switch (spec.type) {
    case "boolean":
      return { enum: [true, false, "enable", "disable"] };
    case "integer":
    case "number":
      return {
        type: spec.type,
        ...(spec.minimum !== undefined && { minimum: spec.minimum }),
        ...(spec.exclusiveMinimum !== undefined && { exclusiveMinimum: spec.exclusiveMinimum }),
        ...(spec.maximum !== undefined && { maximum: spec.maximum }),
      };
    case "path":
      return { type: "string", minLength: 1 };
    case "size":
      return {
        anyOf: [
          { type: "number", exclusiveMinimum: 0 },
          { type: "string", pattern: SIZE.source },
        ],
      };
    case "string":
      return { type: "string" };
  }
}

/** The schema of one command's options; hidden and dead ones are for old command lines, not for files. */
export function tableSchema(table: OptionTable): JsonSchema {
  const visible = Object.entries(table).filter(([, spec]) => spec.ignored === undefined);
  return {
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(visible.map(([key, spec]) => [key, optionSchema(spec)])),
  };
}

export type Tables = Readonly<Record<string, OptionTable>>;

/** The schema of `mmtrt.yaml`: one section per command, and keys at the top that every command with such an option takes. */
export function documentSchema(tables: Tables): JsonSchema {
  const properties: Record<string, unknown> = {};
  for (const [command, table] of Object.entries(tables)) {
    properties[command] = { description: `Options of mmtrt ${command}.`, ...tableSchema(table) };
  }
  for (const [key, specs] of sharedOptions(tables)) properties[key] ??= sharedSchema(specs);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "mmtrt.yaml",
    type: "object",
    additionalProperties: false,
    properties,
  };
}

/** Every option name with the specs that commands give it. */
export function sharedOptions(tables: Tables): ReadonlyMap<string, readonly OptionSpec[]> {
  const shared = new Map<string, OptionSpec[]>();
  for (const table of Object.values(tables)) {
    for (const [key, spec] of Object.entries(table)) {
      if (spec.ignored === undefined) shared.set(key, [...(shared.get(key) ?? []), spec]);
    }
  }
  return shared;
}

/** Commands may limit the same option differently: the value must fit one of them, and is checked again by the one that runs. */
function sharedSchema(specs: readonly OptionSpec[]): JsonSchema {
  const distinct = new Map(
    specs.map(spec => [JSON.stringify(scalarSchema(spec)) + String(spec.list), optionSchema(spec)]),
  );
  const all = [...distinct.values()];
  return all.length === 1 ? (all[0] as JsonSchema) : { anyOf: all };
}

/** The option tables of all commands. */
export async function allTables(): Promise<Tables> {
  const entries = Object.entries(COMMANDS).map(async ([name, info]) => [name, await info.table()] as const);
  return Object.fromEntries(await Promise.all(entries));
}
