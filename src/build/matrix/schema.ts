import type { OptionSpec, OptionTable } from "../../options/define.ts";
import { type JsonSchema, optionSchema, sharedOptions, tableSchema } from "../../options/schema.ts";
import { AXIS_WORDS, CELL_OPTIONS } from "./options.ts";

/** Names become directories and parts of directories' names. */
const NAME = { type: "string", pattern: "^[A-Za-z0-9][A-Za-z0-9._+-]*$" } as const;
const NAMES = { propertyNames: NAME } as const;
const PATH = { type: "string", minLength: 1 } as const;
const ITEM = { type: ["string", "number", "boolean"] } as const;

/** For editors: with the values that each option takes. */
export const EDITOR = "editor";
/** For reading: values are checked one by one afterwards, and a schema without them compiles in a tenth of the time. */
export const FORM = "form";
type Purpose = typeof EDITOR | typeof FORM;

/** The schema of a matrix file: options as mmtrt convert and mmtrt build have them, under names, multiplied by axes. */
export function matrixSchema(purpose: Purpose): JsonSchema {
  const whole = layerSchema(purpose);
  const layer: JsonSchema = { $ref: "#/$defs/layer" };
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "matrix.yaml",
    type: "object",
    additionalProperties: false,
    required: ["models"],
    $defs: { layer: whole },
    properties: {
      output_dir: { description: "Where the engine directories go, one for each cell (engines).", ...PATH },
      cache_dir: { description: "Results of steps, shared by cells, runs and machines (.mmtrt/cache).", ...PATH },
      lock_file: { description: "What was built from what (mmtrt.lock).", ...PATH },
      defaults: { description: "Options of every cell.", ...layer },
      models: {
        description: "Models by name: a model directory, or options with model_dir among them.",
        type: "object",
        minProperties: 1,
        ...NAMES,
        additionalProperties: { anyOf: [PATH, layer] },
      },
      precisions: namedLayers("Precisions by name, beside float16, bfloat16, float32 and the words of qformat.", layer),
      targets: namedLayers("What engines are built for, by name: backend, compute_capabilities, builder.", layer),
      matrix: axesSchema(),
      exclude: { description: "Combinations to leave out.", type: "array", items: conditionSchema() },
      include: { description: "Cells beside the product of the axes.", type: "array", items: inclusionSchema(whole) },
      overrides: {
        description: "Options of the cells that `when` holds for; later ones win.",
        type: "array",
        items: overrideSchema(whole),
      },
    },
  };
}

function namedLayers(description: string, layer: JsonSchema): JsonSchema {
  return { description, type: "object", ...NAMES, additionalProperties: layer };
}

/** Options at the top of a layer are for each command that has them; a section is for one command. */
function layerSchema(purpose: Purpose): JsonSchema & { readonly properties: Readonly<Record<string, unknown>> } {
  return { type: "object", additionalProperties: false, properties: layerProperties(purpose) };
}

function layerProperties(purpose: Purpose): Record<string, unknown> {
  const section = (table: OptionTable): JsonSchema => {
    const whole = tableSchema(table);
    return purpose === EDITOR ? whole : { ...whole, properties: withoutValues(Object.keys(table)) };
  };
  return {
    ...(purpose === EDITOR ? anyOption() : withoutValues(Object.keys(anyOption()))),
    convert: { description: "Options of mmtrt convert.", ...section(CELL_OPTIONS.convert) },
    build: { description: "Options of mmtrt build.", ...section(CELL_OPTIONS.build) },
    trtexec_flags: { description: "Words for trtexec.", type: "array", items: { type: "string" } },
  };
}

function withoutValues(keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.map(key => [key, true]));
}

function anyOption(): Record<string, unknown> {
  return Object.fromEntries(
    [...sharedOptions(CELL_OPTIONS)].map(([key, specs]) => {
      const all = specs.map(valueSchema);
      const distinct = [...new Map(all.map(one => [JSON.stringify(one), one])).values()];
      return [key, distinct.length === 1 ? distinct[0] : { anyOf: distinct }];
    }),
  );
}

/** A list takes a single value without brackets too. */
function valueSchema(spec: OptionSpec): JsonSchema {
  const whole = optionSchema(spec);
  return spec.list ? { anyOf: [whole, optionSchema({ ...spec, list: false })] } : whole;
}

/** Values are checked against the option's own limits when they are read, one by one, for a place of each. */
function axesSchema(): JsonSchema {
  const values = {
    anyOf: [ITEM, { type: "array", minItems: 1, items: { anyOf: [ITEM, { type: "array", items: ITEM }] } }],
  };
  const keys = [...AXIS_WORDS, ...Object.keys(anyOption())];
  return {
    description: "Axes, each with one or several values: the cells are their product.",
    type: "object",
    additionalProperties: false,
    properties: Object.fromEntries(keys.map(key => [key, values])),
  };
}

function conditionSchema(): JsonSchema {
  const values = { anyOf: [ITEM, { type: "array", minItems: 1, items: ITEM }] };
  return { type: "object", minProperties: 1, additionalProperties: values };
}

function inclusionSchema(layer: ReturnType<typeof layerSchema>): JsonSchema {
  const words = Object.fromEntries(AXIS_WORDS.map(key => [key, { type: "string" }]));
  return { ...layer, properties: { name: NAME, ...words, ...referenced(layer) } };
}

function overrideSchema(layer: ReturnType<typeof layerSchema>): JsonSchema {
  return { ...layer, required: ["when"], properties: { when: conditionSchema(), ...referenced(layer) } };
}

/** The options of a layer by reference: there are some two hundred. */
function referenced({ properties }: ReturnType<typeof layerSchema>): JsonSchema {
  return Object.fromEntries(Object.keys(properties).map(key => [key, { $ref: `#/$defs/layer/properties/${key}` }]));
}
