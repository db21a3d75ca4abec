import { stat } from "node:fs/promises";
import { fail } from "../../diagnostics/index.ts";

/** A model of the Hugging Face Hub as the user named it. */
export interface HubName {
  /** `org/name`; old repositories have a name alone. */
  readonly repo: string;
  /** Branch, tag or commit; undefined means main. */
  readonly revision: string | undefined;
}

/** What the Hub allows: letters, digits, `-`, `_`, `.`; 96 of them; no `--` or `..`; no `-` or `.` at either end. */
const PART = /^(?![-.])(?!.*(?:--|\.\.))[\w.-]{1,96}(?<![-.])$/;
/** A git reference without what could leave a directory or change a URL. */
const REVISION = /^(?![/.-])(?!.*(?:\.\.|\/\/|\/\.|@\{))[\w./+-]{1,200}(?<![/.])$/;
const PREFIX = "hf://";
/** What a directory or file of ours ends in, and a repository never does. */
const FILE_NAME = /\.(?:gguf|safetensors|json|yaml|yml|onnx|bin|pth|pt)$/i;

/** `org/name`, `org/name@revision`, `hf://name`: undefined for a text that can only be a path. */
export function parseHubName(text: string): HubName | undefined {
  const prefixed = text.startsWith(PREFIX);
  const [repo = "", revision, ...more] = text.slice(prefixed ? PREFIX.length : 0).split("@");
  const parts = repo.split("/");
  const isRepo = (parts.length === 2 || (prefixed && parts.length === 1)) && parts.every(part => PART.test(part));
  if (!isRepo || more.length > 0 || (!prefixed && FILE_NAME.test(repo))) return undefined;
  if (revision !== undefined && !REVISION.test(revision)) return undefined;
  return { repo, revision };
}

/**
 * The Hub's name that an option's value means: undefined where it is a path. What exists on disk is always that, so that a
 * directory `models/llava` is never taken for a repository; `hf://` says the opposite.
 * Errors: HUB008 for `hf://` with something that is no name, and for a revision of a local directory.
 */
export async function hubNameOf(
  value: string,
  revision: string | undefined,
  at: (key: string) => string,
  key: string,
): Promise<HubName | undefined> {
  const prefixed = value.startsWith(PREFIX);
  const local = !prefixed && (await exists(value));
  const name = local ? undefined : parseHubName(value);
  if (name === undefined && prefixed) fail(badName(value, at(key)));
  if (revision === undefined) return name;
  if (!REVISION.test(revision)) fail(badRevision(revision, at("revision")));
  if (name === undefined) fail(needless(value, revision, at("revision")));
  if (name.revision !== undefined && name.revision !== revision) fail(twice(value, revision, at("revision")));
  return { repo: name.repo, revision };
}

/** `llava-hf/llava-1.5-7b-hf`, `hf://gpt2`: to be typed again. */
export function shownName({ repo, revision }: HubName): string {
  return `${repo.includes("/") ? "" : PREFIX}${repo}${revision === undefined ? "" : `@${revision}`}`;
}

/** `hf://org/name@commit` of a directory in the Hub's cache; undefined for any other. */
export function snapshotName(path: string): string | undefined {
  const [, repo, commit] = /(?:^|[/\\])models--([^/\\]+)[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]?$/.exec(path) ?? [];
  return repo === undefined ? undefined : `${PREFIX}${repo.replaceAll("--", "/")}@${commit}`;
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

const FORM = "write org/name, org/name@revision, or hf://name for an old repository without an organisation";

function badName(value: string, at: string): Parameters<typeof fail>[0] {
  return {
    code: "HUB008",
    what: `${JSON.stringify(value.slice(0, 200))} does not name a model of the Hugging Face Hub`,
    at,
    why: "names there have letters, digits, '-', '_' and '.', and one slash after the organisation",
    fix: FORM,
  };
}

function badRevision(revision: string, at: string): Parameters<typeof fail>[0] {
  return {
    code: "HUB008",
    what: `${JSON.stringify(revision.slice(0, 200))} is no revision`,
    at,
    why: "a revision is a branch, a tag or a commit of the model's repository",
    fix: "--revision main, --revision v1.0, or the 40 digits of a commit",
  };
}

function needless(value: string, revision: string, at: string): Parameters<typeof fail>[0] {
  return {
    code: "HUB008",
    what: `revision ${revision} is given with ${value.slice(0, 200)}, which is not a model of the Hub`,
    at,
    why: "what lies on disk has no revisions that mmtrt could choose from",
    fix: "leave out --revision, or give org/name as the model",
  };
}

function twice(value: string, revision: string, at: string): Parameters<typeof fail>[0] {
  return {
    code: "HUB008",
    what: `two revisions are given: ${value.slice(0, 200)} and ${revision}`,
    at,
    why: "one of the two would be dropped in silence",
    fix: "keep one of them",
  };
}
