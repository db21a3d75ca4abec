import type { Problem } from "../../diagnostics/index.ts";
import type { HubName } from "./name.ts";
import type { HubSettings } from "./settings.ts";

/** What the Hub's answer was about. */
export interface Asked {
  readonly name: HubName;
  readonly settings: HubSettings;
  readonly url: string;
}

/** Longest text of a server that is shown. */
const MAX_TEXT = 300;

/** An answer that is not a success, in words; `code` is the Hub's X-Error-Code, `message` its X-Error-Message. */
export function statusProblem(asked: Asked, status: number, code: string, message: string): Problem {
  const said = message === "" ? "" : `: ${message.slice(0, MAX_TEXT)}`;
  if (code === "RevisionNotFound") return noRevision(asked);
  if (code === "GatedRepo" || (status === 403 && code === "")) return gated(asked, said);
  // Without a token the Hub does not say whether a repository is private or does not exist.
  if (status === 401 && asked.settings.token === undefined) return notFound(asked, "or it is private");
  if (status === 401 || status === 403) return refused(asked, status, said);
  if (status === 404 || code === "RepoNotFound") return notFound(asked, "or the token may not see it");
  const busy = status === 429 ? "it takes no more requests for now" : "it has a problem of its own";
  return unreachable(asked, `answers ${status} to ${asked.url}${said}`, busy);
}

function notFound({ name, settings }: Asked, or: string): Problem {
  return {
    code: "HUB001",
    what: `there is no model ${name.repo} on ${settings.endpoint}, ${or}`,
    at: name.repo,
    why: `${name.repo} is no directory or file here either, so it was looked for on the Hub`,
    fix: "correct the name or the path; for a private model give a token with HF_TOKEN",
  };
}

function noRevision({ name, settings }: Asked): Problem {
  return {
    code: "HUB001",
    what: `${name.repo} has no revision ${name.revision ?? "main"}`,
    at: name.repo,
    why: "a revision is a branch, a tag or a commit of the model's repository",
    fix: `see ${settings.endpoint}/${name.repo}/commits/main for the commits`,
  };
}

function gated({ name, settings }: Asked, said: string): Problem {
  const has = settings.token !== undefined;
  return {
    code: "HUB002",
    what: `${name.repo} is gated${said}`,
    at: name.repo,
    why: has
      ? "the token's account has not been given access, or the token may not read gated models"
      : "its owner wants to know who downloads it, and there is no token",
    fix: `accept the terms on ${settings.endpoint}/${name.repo}${has ? ", with the account of the token" : ", then set HF_TOKEN to a token of that account"}`,
  };
}

function refused({ name, settings }: Asked, status: number, said: string): Problem {
  return {
    code: "HUB002",
    what: `the Hub refuses the token for ${name.repo} (${status})${said}`,
    at: name.repo,
    why: "the token has expired, was revoked, or may not read this repository",
    fix: `make a token with read access on ${settings.endpoint}/settings/tokens and set HF_TOKEN, or unset it for a public model`,
  };
}

export function unreachable({ name, settings }: Asked, what: string, why: string): Problem {
  return {
    code: "HUB003",
    what: `${settings.endpoint} ${what}`,
    at: name.repo,
    why,
    fix: "try again; what is downloaded stays. Behind a proxy: HTTPS_PROXY with NODE_USE_ENV_PROXY=1 (Node.js 24), or HF_ENDPOINT of a mirror",
  };
}

/** `seen` and `expected` with their units. */
export function damaged({ name, url }: Asked, file: string, seen: string, expected: string): Problem {
  return {
    code: "HUB004",
    what: `${file} of ${name.repo} arrives damaged: ${seen}; the Hub says ${expected}`,
    at: url,
    why: "weights with other bytes would be another model; the file was fetched twice and has been thrown away",
    fix: "try again later, or without the proxy or mirror in between",
  };
}

/** `lacks` says what the cache does not hold. */
export function notCached({ name, settings }: Pick<Asked, "name" | "settings">, lacks: string): Problem {
  const revision = name.revision === undefined ? "" : ` at ${name.revision}`;
  return {
    code: "HUB005",
    what: `${name.repo}${revision} is not whole in the cache: ${lacks}`,
    at: settings.cacheDir,
    why: settings.offline
      ? "HF_HUB_OFFLINE is set, so that nothing is downloaded"
      : "the Hub cannot be reached, so that nothing can be downloaded",
    fix: "download it once with a network, or copy the cache of a machine that has it",
  };
}

export function noSpace({ name, settings }: Pick<Asked, "name" | "settings">, needed: number, free: number): Problem {
  return {
    code: "HUB006",
    what: `${gigabytes(needed)} of ${name.repo} are to be downloaded, ${gigabytes(free)} are free`,
    at: settings.cacheDir,
    why: "the disk of the cache is too full for the model",
    fix: "free space, or set HF_HOME to a directory on a larger disk",
  };
}

/** `message` says what is wrong with the answer. */
export function unusable({ name, url }: Asked, message: string): Problem {
  return {
    code: "HUB007",
    what: `the Hub's answer about ${name.repo} is not usable: ${message.slice(0, MAX_TEXT)}`,
    at: url,
    why: "names and sizes from a server decide what is written to this disk, so they are checked",
    fix: "see whether HF_ENDPOINT is a Hub; if it is, please report this",
  };
}

/** Said when weights come as pickles: nothing of them is executed. */
export function needsPickle({ repo }: HubName, file: string): Problem {
  return {
    code: "HUB009",
    what: `${repo} has no safetensors: its weights are the pickle ${file}`,
    at: repo,
    why: "a pickle is a program; mmtrt reads its tensors without running it, other tools may run it",
    fix: "nothing for mmtrt; convert the model to safetensors before others load it",
  };
}

/** `reason` is why the Hub was not asked. */
export function fromCache({ repo, revision }: HubName, commit: string, reason: Problem): Problem {
  return {
    code: "HUB003",
    what: `${reason.what}; the copy in the cache is used, commit ${commit.slice(0, 12)}`,
    at: repo,
    why: `${revision ?? "main"} may have moved on since it was downloaded`,
    fix: `--revision ${commit} says so for good`,
  };
}

export function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
