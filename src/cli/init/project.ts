import { readFile, stat } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import { type Document, isMap, isScalar, parseDocument } from "yaml";
import { parseHubName, shownName } from "../../checkpoint/hub/name.ts";
import { findPublished } from "../../checkpoint/published.ts";
import { packageRoot } from "../../formats/package-root.ts";
import { buildOptions } from "../../options/tables/build.ts";
import { convertOptions } from "../../options/tables/convert.ts";
import type { InitOptions } from "../../options/tables/init.ts";
import { VERSION } from "../version.ts";

type Value = string | number | boolean;

export interface ProjectFile {
  /** From the project's directory. */
  readonly name: string;
  readonly text: string;
}

interface Model {
  /** What mmtrt.yaml says as model_dir, and the matrix file too. */
  readonly dir: string;
  /** Its cells' names begin with this. */
  readonly name: string;
  readonly recommended: Readonly<Record<string, Value>>;
  /** Why those. */
  readonly why: string | undefined;
}

const CI = {
  github: ["github.yml", ".github/workflows/engines.yml"],
  gitlab: ["gitlab-ci.yml", ".gitlab-ci.yml"],
} as const;
/** The template says it: a project must work on the machine that it is made on. */
const LEFT_OUT = ["backend"];
/** Axes or fixed values of the template's matrix. */
const OF_THE_MATRIX = ["dtype", "max_batch_size"];

/** The files of a project, from templates/project. Errors: CKP057 for a model that is neither published, nor a path, nor a name of the Hub. */
export async function projectFiles(options: InitOptions, at: string): Promise<readonly ProjectFile[]> {
  const model = await modelOf(options, at);
  const ci = options.ci === "none" ? undefined : CI[options.ci];
  return [
    { name: "mmtrt.yaml", text: mmtrtYaml(await template("mmtrt.yaml"), model) },
    { name: "matrix.yaml", text: matrixYaml(await template("matrix.yaml"), model) },
    ...(ci === undefined ? [] : [{ name: ci[1], text: pinned(await template(ci[0])) }]),
    { name: ".gitignore", text: await template("gitignore") },
  ];
}

function template(name: string): Promise<string> {
  return readFile(join(packageRoot(), "templates", "project", name), "utf8");
}

async function modelOf({ model, dir }: InitOptions, at: string): Promise<Model> {
  const there = await stat(model).catch(() => undefined);
  if (there !== undefined) {
    const path = relative(resolve(dir), resolve(model)) || ".";
    return { dir: path, name: nameOf(model), recommended: {}, why: undefined };
  }
  const name = parseHubName(model);
  const published = await findPublished(model, at).catch((error: unknown) =>
    name === undefined ? Promise.reject(error) : undefined,
  );
  if (published === undefined && name !== undefined)
    return { dir: shownName(name), name: nameOf(name.repo), recommended: {}, why: undefined };
  const { name: known, hub, build, why } = published as NonNullable<typeof published>;
  return { dir: hub ?? known, name: nameOf(known), recommended: build, why };
}

/** Names of a matrix become directories. */
function nameOf(model: string): string {
  return (
    basename(resolve(model))
      .replace(/[^A-Za-z0-9._+-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+/, "") || "model"
  );
}

/** Comments of the template stay where they are. */
function mmtrtYaml(text: string, { dir, recommended, why }: Model): string {
  const document = parseDocument(text);
  document.setIn(["convert", "model_dir"], dir);
  for (const [key, value] of kept(recommended)) {
    if (Object.hasOwn(convertOptions, key)) document.setIn(["convert", key], value);
    if (Object.hasOwn(buildOptions, key) && !isParallel(key)) document.setIn(["build", key], value);
  }
  if (why !== undefined) explain(document, why);
  return written(document);
}

function matrixYaml(text: string, { dir, name, recommended }: Model): string {
  const document = parseDocument(text);
  document.setIn(["models"], document.createNode({ [name]: dir }));
  for (const [key, value] of kept(recommended))
    if (!OF_THE_MATRIX.includes(key)) document.setIn(["defaults", key], value);
  const dtype = recommended.dtype;
  if (dtype !== undefined) document.setIn(["matrix", "precision"], document.createNode([dtype], { flow: true }));
  return written(document);
}

function kept(recommended: Model["recommended"]): readonly (readonly [string, Value])[] {
  return Object.entries(recommended).filter(([key]) => !LEFT_OUT.includes(key));
}

/** Decided by convert: build takes it from the checkpoint. */
function isParallel(key: string): boolean {
  return key === "tp_size" || key === "pp_size";
}

function written(document: Document): string {
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

const COMMENT_WIDTH = 118;

/** Above the section of build. */
function explain(document: Document, why: string): void {
  const pair = isMap(document.contents)
    ? document.contents.items.find(({ key }) => String(key) === "build")
    : undefined;
  if (pair !== undefined && isScalar(pair.key)) pair.key.commentBefore = wrapped(why, COMMENT_WIDTH).join("\n");
}

/** Lines as the package takes comments: with the space behind the #. */
function wrapped(text: string, width: number): readonly string[] {
  const lines = [""];
  for (const word of text.trim().split(/\s+/)) {
    const line = lines.at(-1) as string;
    if (line.length + 1 + word.length > width) lines.push(` ${word}`);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

/** The same mmtrt for everybody who builds. */
function pinned(text: string): string {
  return text.replaceAll("mmtrt@latest", `mmtrt@${VERSION}`);
}
