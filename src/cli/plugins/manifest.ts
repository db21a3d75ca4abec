import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ErrorObject } from "ajv/dist/2020.js";
import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { packageRoot } from "../../formats/package-root.ts";
import type { JsonSchema } from "../../options/schema.ts";
import { pathOf, readYamlText, type YamlPath, YamlSource } from "../../options/yaml-source.ts";
import { type Expression, parseRequirement, parseSize, type SizeTerm } from "./expression.ts";

/** The order is MmtrtDtype's in native-plugins/common/abi.h. */
export const PLUGIN_DTYPES = ["float32", "float16", "bfloat16", "int8", "int4", "int32", "int64", "float8"] as const;
export type PluginDtype = (typeof PLUGIN_DTYPES)[number];

export interface PluginTensor {
  readonly name: string;
  /** Any axes come before the named ones. */
  readonly leading: boolean;
  readonly dims: readonly SizeTerm[];
  readonly dtypes: readonly PluginDtype[];
  /** The type variable; undefined for a dtype of its own. */
  readonly typeName: string | undefined;
  readonly optional: boolean;
  /** Of an output: the input whose memory it is; `when` an integer attribute is not 0, or always. */
  readonly alias: { readonly input: string; readonly when: string | undefined } | undefined;
}

export interface PluginAttribute {
  readonly name: string;
  readonly type: "int" | "float";
  /** Undefined: a node must say it. */
  readonly default: number | undefined;
  readonly minimum: number | undefined;
  readonly maximum: number | undefined;
}

/** What a plugin.yaml says, checked. */
export interface PluginManifest {
  readonly name: string;
  /** Folder and C++ namespace: the name with a small first letter. */
  readonly id: string;
  readonly file: string;
  readonly version: string;
  readonly about: string;
  readonly inputs: readonly PluginTensor[];
  readonly outputs: readonly PluginTensor[];
  readonly attributes: readonly PluginAttribute[];
  readonly requires: readonly (Expression & { readonly that: string; readonly why: string })[];
  readonly state: number;
  /** Of tests against float64, for each dtype. */
  readonly tolerance: Tolerance;
  /** Names of sizes, in the order in which the inputs have them. */
  readonly sizes: readonly string[];
}

export type Tolerance = Readonly<Record<string, { readonly cosine: number; readonly ulp: number }>>;

interface RawTensor {
  readonly shape: readonly (string | number)[];
  readonly type: string;
  readonly optional?: true;
  readonly alias?: string;
  readonly alias_when?: string;
}

interface RawAttribute {
  readonly type: "int" | "float";
  readonly default?: number;
  readonly required?: true;
  readonly minimum?: number;
  readonly maximum?: number;
}

interface RawManifest {
  readonly name: string;
  readonly version: string;
  readonly about: string;
  readonly inputs: Readonly<Record<string, RawTensor>>;
  readonly outputs: Readonly<Record<string, RawTensor>>;
  readonly types: Readonly<Record<string, readonly PluginDtype[]>>;
  readonly attributes?: Readonly<Record<string, RawAttribute>>;
  readonly requires?: readonly { readonly that: string; readonly why: string }[];
  readonly state?: number;
  readonly tolerance: Tolerance;
}

/** `native-plugins` of the installed package. */
export function pluginSources(): string {
  return join(packageRoot(), "native-plugins");
}

/** Every plugin below `sources`/plugins, by name. Throws PLG001 and PLG002 for all that is wrong in all files. */
export async function readManifests(sources: string): Promise<readonly PluginManifest[]> {
  const schema = JSON.parse(await readFile(join(pluginSources(), "plugin.schema.json"), "utf8")) as JsonSchema;
  const folders = (await readdir(join(sources, "plugins"), { withFileTypes: true })).filter(entry =>
    entry.isDirectory(),
  );
  const files = folders.map(({ name }) => join(sources, "plugins", name, "plugin.yaml")).sort();
  const read = await Promise.all(files.map(file => readManifest(file, schema)));
  throwIfAny(read.flatMap(({ problems }) => problems));
  return read.flatMap(({ manifest }) => (manifest === undefined ? [] : [manifest]));
}

async function readManifest(
  file: string,
  schema: JsonSchema,
): Promise<{ manifest?: PluginManifest; problems: readonly Problem[] }> {
  const text = await readYamlText(file, file, "every folder of native-plugins/plugins has a plugin.yaml");
  const source = new YamlSource(file, text);
  if (source.problems.length > 0) return { problems: source.problems };
  const wrong = source.check(schema);
  if (wrong.length > 0) return { problems: wrong.map(error => schemaProblem(source, error)) };
  const raw = source.data as RawManifest;
  const problems: Problem[] = [];
  const report = (path: YamlPath, what: string, why: string, fix: string): void => {
    problems.push({ code: "PLG002", at: source.at(path), what, why, fix });
  };
  const manifest = resolveManifest(file, raw, report);
  return { manifest, problems };
}

type Report = (path: YamlPath, what: string, why: string, fix: string) => void;

function resolveManifest(file: string, raw: RawManifest, report: Report): PluginManifest {
  const id = raw.name.charAt(0).toLowerCase() + raw.name.slice(1);
  if (basename(dirname(file)) !== id)
    report(
      ["name"],
      `${raw.name} lies in the folder ${basename(dirname(file))}`,
      "the folder is found by the name",
      `rename the folder to ${id}`,
    );
  const inputs = tensorsOf(raw, "inputs", report);
  const sizes = [...new Set(inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => terms)))].filter(isName);
  const outputs = tensorsOf(raw, "outputs", report);
  const attributes = Object.entries(raw.attributes ?? {}).map(([name, spec]) => ({
    name,
    type: spec.type,
    default: spec.default,
    minimum: spec.minimum,
    maximum: spec.maximum,
  }));
  for (const [name, spec] of Object.entries(raw.attributes ?? {}))
    if ((spec.default === undefined) !== (spec.required === true))
      report(
        ["attributes", name],
        `${name} has ${spec.required ? "a default and is required" : "no default and is not required"}`,
        "a node without the attribute takes the default, or is refused",
        "give either default or required: true",
      );
  const integers = attributes.filter(({ type }) => type === "int").map(({ name }) => name);
  for (const { name, dims } of outputs)
    for (const term of dims.flatMap(({ terms }) => terms).filter(isName))
      if (!sizes.includes(term) && !integers.includes(term))
        report(
          ["outputs", name],
          `the size ${term} is of no input`,
          "an output's shape follows from the inputs and attributes",
          `use one of ${[...sizes, ...integers].join(", ")}`,
        );
  for (const output of outputs) checkAlias(output, inputs, integers, report);
  const known = [...sizes, ...integers, ...(inputs.some(({ leading }) => leading) ? ["lead"] : [])];
  const requires = (raw.requires ?? []).flatMap((requirement, index) => {
    const parsed = parseRequirement(requirement.that);
    const unknown = parsed?.names.find(name => !known.includes(name));
    if (parsed === undefined)
      report(
        ["requires", index],
        `${requirement.that} is no comparison`,
        "the check is generated from it",
        "compare sums and products, as in K % group_size == 0",
      );
    else if (unknown !== undefined)
      report(
        ["requires", index],
        `${unknown} is neither a size nor an integer attribute`,
        "a requirement is checked before each launch, on what the call says",
        `use ${known.join(", ")}`,
      );
    return parsed === undefined ? [] : [{ ...requirement, ...parsed }];
  });
  const { name, version, about, state = 0, tolerance } = raw;
  return { name, id, file, version, about, inputs, outputs, attributes, requires, state, tolerance, sizes };
}

/** Memory of one type that is written while it is read: an input of the output's own type, which nothing else is made of. */
function checkAlias(
  { name, alias, typeName, dtypes }: PluginTensor,
  inputs: readonly PluginTensor[],
  integers: readonly string[],
  report: Report,
): void {
  if (alias === undefined) return;
  const input = inputs.find(tensor => tensor.name === alias.input);
  const sameType = input !== undefined && input.typeName === typeName && input.dtypes.join() === dtypes.join();
  if (!sameType || input.optional)
    report(
      ["outputs", name, "alias"],
      `${alias.input} is ${input === undefined ? "no input" : input.optional ? "optional" : "of another type"}`,
      "the output is that input's memory",
      "name a required input of the output's own type",
    );
  if (alias.when !== undefined && !integers.includes(alias.when))
    report(
      ["outputs", name, "alias_when"],
      `${alias.when} is no integer attribute`,
      "the output is the input's memory where that attribute is not 0",
      integers.length > 0 ? `use one of ${integers.join(", ")}` : "leave it out",
    );
}

const isName = (term: string | number): term is string => typeof term === "string";

function tensorsOf(raw: RawManifest, kind: "inputs" | "outputs", report: Report): readonly PluginTensor[] {
  return Object.entries(raw[kind]).map(([name, tensor]) => {
    const { shape, type, optional = false } = tensor;
    const leading = shape[0] === "...";
    const dims = shape.slice(leading ? 1 : 0).flatMap((text, axis) => {
      const size = parseSize(text);
      const simple = size !== undefined && size.op === "" && !/^[a-z]/.test(String(size.terms[0]));
      if (size === undefined || (kind === "inputs" && !simple))
        report(
          [kind, name],
          `axis ${axis} is ${text}`,
          "an input's size is a name or a number; an output's may join two",
          "name sizes with a capital letter first, as in K",
        );
      return size === undefined ? [] : [size];
    });
    const own = (PLUGIN_DTYPES as readonly string[]).includes(type);
    const dtypes = own ? [type as PluginDtype] : (raw.types[type] ?? []);
    if (dtypes.length === 0)
      report(
        [kind, name],
        `the type ${type} is neither a dtype nor in types`,
        "kernels are compiled for certain types",
        `use ${Object.keys(raw.types).join(", ")} or ${PLUGIN_DTYPES.join(", ")}`,
      );
    const alias = tensor.alias === undefined ? undefined : { input: tensor.alias, when: tensor.alias_when };
    return { name, leading, dims, dtypes, typeName: own ? undefined : type, optional, alias };
  });
}

function schemaProblem(source: YamlSource, error: ErrorObject): Problem {
  const path = pathOf(error);
  return {
    code: "PLG001",
    at: source.at(path),
    what: `${path.join(".") || "plugin.yaml"} ${error.message ?? "is not as the schema says"}${detail(error)}`,
    why: "names, shapes, types and limits of a plugin are generated from its plugin.yaml",
    fix: "native-plugins/plugin.schema.json says what each key takes",
  };
}

function detail({ params }: ErrorObject): string {
  const word = params.additionalProperty ?? params.propertyName;
  return typeof word === "string" ? `: ${word}` : "";
}

/** Layout of the structs in abi.h and each plugin's interface: what a graph or an engine relies on. 64 hex digits. */
export function abiHash(manifests: readonly PluginManifest[], abiVersion: number): string {
  const facts = manifests.map(({ name, version, inputs, outputs, attributes }) => ({
    ...{ name, version },
    ...{ inputs: inputs.map(interfaceOf), outputs: outputs.map(interfaceOf) },
    attributes: attributes.map(attribute => [attribute.name, attribute.type, attribute.default ?? null]),
  }));
  return createHash("sha256")
    .update(JSON.stringify([abiVersion, facts]))
    .digest("hex");
}

function interfaceOf({ name, leading, dims, dtypes, typeName, optional, alias }: PluginTensor): readonly unknown[] {
  const sizes = dims.map(({ op, terms }) => [op, ...terms]);
  return [name, leading, sizes, [...dtypes], typeName ?? null, optional, alias ?? null];
}
