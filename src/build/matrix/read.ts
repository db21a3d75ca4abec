import type { ErrorObject } from "ajv/dist/2020.js";
import { type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { besideFile } from "../../options/beside.ts";
import { nearest } from "../../options/nearest.ts";
import { asRecord, byPlace, pathOf, readYamlText, type YamlPath, YamlSource } from "../../options/yaml-source.ts";
import { readAxes, readCondition, readInclusion } from "./axes.ts";
import type { Layer, MatrixFile } from "./cell.ts";
import { LayerReader } from "./layers.ts";
import { commandsWith, isReserved } from "./options.ts";
import { FORM, matrixSchema } from "./schema.ts";

const OUTPUT_DIR = "engines";
const CACHE_DIR = ".mmtrt/cache";
const LOCK_FILE = "mmtrt.lock";

/** Reads and checks the whole file; everything that is wrong is told at once, with line and column. Errors: CFG002, CFG005, CFG006, MTX001–MTX003. */
export async function readMatrix(file: string, origin: string): Promise<MatrixFile> {
  const source = new YamlSource(file, await readYamlText(file, origin, "give the path of the matrix file"));
  throwIfAny(source.problems);
  const problems = formProblems(source);
  // Values are read from a file of the right form alone: what they mean depends on where they stand.
  throwIfAny(problems);
  const reader = new LayerReader(source);
  const matrix = fileOf(source, reader);
  throwIfAny([...reader.problems].sort((a, b) => byPlace(a.at, b.at)));
  return matrix;
}

function fileOf(source: YamlSource, reader: LayerReader): MatrixFile {
  const data = asRecord(source.data);
  const place = (key: string, fallback: string): string => besideFile(source.file, String(data[key] ?? fallback), {});
  const layers = (key: string): ReadonlyMap<string, Layer> =>
    new Map(Object.keys(asRecord(data[key])).map(name => [name, reader.layer([key, name])]));
  const items = (key: string): readonly YamlPath[] =>
    (Array.isArray(data[key]) ? data[key] : []).map((_: unknown, i: number) => [key, i]);
  const names = { model: layers("models"), precision: layers("precisions"), target: layers("targets") };
  const axes = readAxes(reader, names);
  return {
    file: source.file,
    outputDir: place("output_dir", OUTPUT_DIR),
    cacheDir: place("cache_dir", CACHE_DIR),
    lockFile: place("lock_file", LOCK_FILE),
    defaults: reader.layer(["defaults"]),
    models: names.model,
    precisions: names.precision,
    targets: names.target,
    axes,
    exclude: items("exclude").map(path => readCondition(reader, path, axes)),
    include: items("include").map(path => readInclusion(reader, path, names)),
    overrides: items("overrides").map(path => ({
      when: readCondition(reader, [...path, "when"], axes),
      layer: reader.layer(path),
    })),
  };
}

/** ajv says which place and which rule. Values of options are told about when they are read, in the options' own words. */
function formProblems(source: YamlSource): readonly Problem[] {
  const errors = source.check(matrixSchema(FORM));
  const inside = (outer: ErrorObject, inner: ErrorObject): boolean =>
    outer.keyword !== "additionalProperties" &&
    (inner.instancePath.startsWith(`${outer.instancePath}/`) ||
      (inner.instancePath === outer.instancePath && inner.keyword === "additionalProperties"));
  // No branch of an anyOf fits when something inside does not: the inner complaint says more.
  const inner = errors.filter(one => !errors.some(other => other !== one && inside(one, other)));
  const told = new Map<string, Problem>();
  for (const error of inner) {
    if (pathOf(error).some(part => commandsWith(part).length > 0)) continue;
    const problem = formProblem(source, error);
    if (!told.has(problem.at)) told.set(problem.at, problem);
  }
  return [...told.values()].sort((a, b) => byPlace(a.at, b.at));
}

function formProblem(source: YamlSource, error: ErrorObject): Problem {
  const path = pathOf(error);
  if (error.keyword === "additionalProperties")
    return unknownKey(source, [...path, String(error.params.additionalProperty)], keysAt(error));
  if (error.keyword === "propertyNames" || path.length === 0 || error.keyword === "required")
    return {
      code: "CFG006",
      at: source.at(path),
      what: `${path.length === 0 ? "the matrix file" : path.join(".")} ${error.message ?? "has another form"}`,
      why: "a matrix file has models under names, and axes that are multiplied",
      fix: "see docs/guide/matrix.md",
    };
  return {
    code: "CFG006",
    at: source.at(path, "value"),
    what: `${path.join(".")} ${error.message ?? "has another form"}; got ${JSON.stringify(source.valueAt(path))}`,
    why: "the cells are made of it",
    fix: "see docs/guide/matrix.md",
  };
}

function keysAt(error: ErrorObject): readonly string[] {
  const parent = error.parentSchema as { properties?: object } | undefined;
  return Object.keys(parent?.properties ?? {});
}

function unknownKey(source: YamlSource, path: readonly string[], known: readonly string[]): Problem {
  const key = path.at(-1) ?? "";
  const guess = nearest(key.replaceAll("-", "_"), known);
  if (isReserved(key))
    return {
      code: "MTX003",
      at: source.at(path),
      what: `${key} cannot be set in a matrix`,
      why: "the matrix gives every cell its own directories and shares workers among them",
      fix: "take the key out; output_dir at the top of the file is where all engines go",
    };
  return {
    code: "CFG005",
    at: source.at(path),
    what: `unknown key ${key}${path.length > 1 ? ` in ${path.slice(0, -1).join(".")}` : ""}`,
    why: "a key that is not known would be left out in silence",
    fix: guess === undefined ? "take the key out" : `did you mean ${guess}?`,
  };
}
