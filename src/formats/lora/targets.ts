import { createContext, Script } from "node:vm";
import { MmtrtError } from "../../diagnostics/index.ts";
import type { AdapterConfig } from "./config.ts";

/** A pattern of a file runs as long as its author likes; all patterns of an adapter over all paths take milliseconds. */
const TIMEOUT_MS = 2000;

/** What adapter_config.json says of each module path: whether it is adapted, and the pattern that its rank and alpha have. */
export interface PathMeaning {
  readonly targeted: boolean;
  readonly rank: number;
  readonly scaling: number;
}

/** PEFT's reading of target_modules, rank_pattern and their like for module paths. Errors: LRA002 for patterns that do not work here. */
export function meaningOf(config: AdapterConfig, paths: readonly string[]): ReadonlyMap<string, PathMeaning> {
  const ranks = firstFitting(config, "rank_pattern", [...config.rankPattern.keys()], paths);
  const alphas = firstFitting(config, "alpha_pattern", [...config.alphaPattern.keys()], paths);
  const included = including(config, paths);
  const excluded = named(config, "exclude_modules", config.excludeModules, paths);
  return new Map(
    paths.map(path => {
      const rank = config.rankPattern.get(ranks.get(path) ?? "") ?? config.r;
      const alpha = config.alphaPattern.get(alphas.get(path) ?? "") ?? config.alpha;
      const scaling = alpha / (config.rslora ? Math.sqrt(rank) : rank);
      const saved = config.modulesToSave.some(name => path === name || path.endsWith(`.${name}`));
      return [path, { targeted: included.has(path) && !excluded.has(path) && !saved, rank, scaling }];
    }),
  );
}

/** Names are ends of paths, and may be limited to some layers; a pattern is for the whole path, and may not. */
function including(config: AdapterConfig, paths: readonly string[]): ReadonlySet<string> {
  const { targetModules, layersToTransform, layersPattern } = config;
  if (targetModules === "all-linear") return new Set(paths);
  const found = named(config, "target_modules", targetModules, paths);
  if (layersToTransform === undefined || typeof targetModules === "string") return found;
  const layerOf = (path: string): number => {
    const before = layersPattern.length === 0 ? [undefined] : layersPattern;
    for (const name of before) {
      const segments = path.split(".");
      const at = segments.findIndex(
        (part, i) => i > 0 && /^\d+$/.test(part) && (name === undefined || segments[i - 1] === name),
      );
      if (at > 0) return Number(segments[at]);
    }
    return -1;
  };
  return new Set([...found].filter(path => layersToTransform.includes(layerOf(path))));
}

function named(
  config: AdapterConfig,
  key: string,
  names: string | readonly string[],
  paths: readonly string[],
): ReadonlySet<string> {
  if (typeof names === "string")
    return names === "" ? new Set() : new Set(firstFitting(config, key, [names], paths, false).keys());
  const wanted = new Set(names);
  const endsIn = (path: string): boolean => {
    for (let at = 0; at >= 0; at = path.indexOf(".", at) + 1 || -1) if (wanted.has(path.slice(at))) return true;
    return false;
  };
  return new Set(paths.filter(endsIn));
}

/** Path → the first pattern that fits it: the whole path, or with `ends` what follows a dot. */
function firstFitting(
  config: AdapterConfig,
  key: string,
  patterns: readonly string[],
  paths: readonly string[],
  ends = true,
): ReadonlyMap<string, string> {
  if (patterns.length === 0) return new Map();
  const compiled = patterns.map(pattern => ({ pattern, regex: compile(config, key, pattern, ends) }));
  const match = (): Map<string, string> => {
    const found = new Map<string, string>();
    for (const path of paths) {
      const first = compiled.find(({ regex }) => regex.test(path));
      if (first !== undefined) found.set(path, first.pattern);
    }
    return found;
  };
  try {
    return new Script("match()").runInContext(createContext({ match }), { timeout: TIMEOUT_MS }) as Map<string, string>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw unusable(
      config,
      key,
      `takes more than ${TIMEOUT_MS / 1000} s to match`,
      "the pattern backtracks without end",
    );
  }
}

/** Python's patterns are JavaScript's but for names of groups and switches in front. */
function compile(config: AdapterConfig, key: string, pattern: string, ends: boolean): RegExp {
  const source = pattern.replaceAll("(?P<", "(?<").replace(/\\Z$/, "");
  try {
    return new RegExp(ends ? `^(?:.*\\.)?(?:${source})$` : `^(?:${source})$`);
  } catch (error) {
    throw unusable(
      config,
      key,
      `${JSON.stringify(pattern.slice(0, 60))} is no pattern: ${(error as Error).message}`,
      "the pattern is written in a form of Python's that JavaScript has not",
    );
  }
}

function unusable({ file }: AdapterConfig, key: string, seen: string, why: string): MmtrtError {
  return new MmtrtError([
    { code: "LRA002", what: `${key}: ${seen}`, at: `${file}: ${key}`, why, fix: "write the names out as a list" },
  ]);
}
