import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { fail, nearest } from "../diagnostics/index.ts";
import { packageRoot } from "../formats/package-root.ts";

/** One file of configs/models: a published checkpoint, known without its weights. */
export interface PublishedModel {
  readonly name: string;
  /** Other names it goes by. */
  readonly aliases: readonly string[];
  /** Repository on the Hugging Face Hub; null for sizes that nobody published. */
  readonly hub: string | null;
  /** Elements of all its tensors, tied ones once, SigLIP's pooling head left out: counted by transformers. */
  readonly parameters: number;
  /** Rows of the visual engine's output for one image; 0 without one. */
  readonly num_visual_features: number;
  /** What could not be looked up, in words; absent when everything was. */
  readonly unconfirmed?: readonly string[];
  /** config.json, less what changes nothing. Of a model in several directories with the others' as `…_cfg`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Options of `convert` and `build` that are a good start. */
  readonly build: Readonly<Record<string, string | number | boolean>>;
  /** Why those. */
  readonly why: string;
}

const FOLDER = join("configs", "models");

/** Every file of configs/models, by parameters. */
export async function publishedModels(dir: string = join(packageRoot(), FOLDER)): Promise<readonly PublishedModel[]> {
  const files = (await readdir(dir)).filter(file => file.endsWith(".yaml")).sort();
  const models = await Promise.all(files.map(file => readPublished(dir, file)));
  return models.sort((a, b) => a.parameters - b.parameters);
}

/** The model called `name` (case does not matter; its Hub name will do). Errors: CKP057 with the known names. */
export async function findPublished(name: string, at: string): Promise<PublishedModel> {
  const models = await publishedModels();
  const wanted = name.toLowerCase();
  const found = models.find(model => namesOf(model).some(known => known.toLowerCase() === wanted));
  return found ?? fail(unknownModel(`there is no model ${JSON.stringify(name)}`, name, models, at));
}

/** The smallest published model of a Hugging Face class. Errors: CKP057 when there is none. */
export async function smallestOf(architecture: string, at: string): Promise<PublishedModel> {
  const models = await publishedModels();
  const found = models.find(model => model.hub !== null && classOf(model) === architecture);
  return found ?? fail(unknownModel(`there is no model of the class ${architecture}`, undefined, models, at));
}

/** `config.architectures[0]`. */
function classOf({ config: { architectures } }: PublishedModel): string {
  return Array.isArray(architectures) ? String(architectures[0]) : "";
}

function namesOf({ name, aliases, hub }: PublishedModel): readonly string[] {
  return [name, ...aliases, ...(hub === null ? [] : [hub])];
}

function unknownModel(
  what: string,
  name: string | undefined,
  models: readonly PublishedModel[],
  at: string,
): Parameters<typeof fail>[0] {
  const names = models.map(model => model.name).sort();
  const guess = name === undefined ? undefined : nearest(name.toLowerCase(), models.flatMap(namesOf));
  return {
    code: "CKP057",
    what: `${what} in ${FOLDER}`,
    at,
    why: "the shapes of all tensors follow from a model's sizes",
    fix: `${guess === undefined ? "" : `did you mean ${guess}? `}Known: ${names.join(", ")}; any other by its config.json`,
  };
}

async function readPublished(dir: string, file: string): Promise<PublishedModel> {
  const value: unknown = parse(await readFile(join(dir, file), "utf8"));
  // Our own data: a wrong file is a bug, found by the test that reads them all.
  if (!isPublished(value)) throw new Error(`${FOLDER}/${file} does not describe a model`);
  return value;
}

const KEYS = ["name", "aliases", "hub", "parameters", "num_visual_features", "config", "build", "why"];

function isPublished(value: unknown): value is PublishedModel {
  if (!isObject(value)) return false;
  const { unconfirmed, ...rest } = value;
  const texts = (list: unknown): boolean => Array.isArray(list) && list.every(item => typeof item === "string");
  const count = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) >= 0;
  return (
    Object.keys(rest).sort().join() === [...KEYS].sort().join() &&
    [rest.name, rest.why].every(text => typeof text === "string" && text !== "") &&
    texts(rest.aliases) &&
    (unconfirmed === undefined || texts(unconfirmed)) &&
    (rest.hub === null || /^[\w.-]+\/[\w.-]+$/.test(String(rest.hub))) &&
    count(rest.parameters) &&
    count(rest.num_visual_features) &&
    isObject(rest.config) &&
    isObject(rest.build) &&
    Object.values(rest.build).every(item => ["string", "number", "boolean"].includes(typeof item))
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
