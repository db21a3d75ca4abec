import { MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { download, type HubProgress, type HubRecord } from "./download.ts";
import { hubNameOf, shownName } from "./name.ts";
import { hubSettings } from "./settings.ts";

export type { HubProgress, HubRecord } from "./download.ts";

export interface LocalRequest {
  /** The option and what the user gave for it: a path, or a model of the Hub. */
  readonly key: string;
  readonly value: string;
  /** Branch, tag or commit of --revision. */
  readonly revision?: string | undefined;
  /** config.json alone. */
  readonly configOnly?: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's home directory. */
  readonly home: string;
  readonly signal: AbortSignal;
  origin(key: string): string;
  onProgress?(progress: HubProgress): void;
  onInfo?(message: string): void;
}

export interface LocalModel {
  readonly path: string;
  /** There when the path is a snapshot of the Hub's cache. */
  readonly hub?: HubRecord;
  readonly warnings: readonly Problem[];
}

/**
 * The path that an option means: itself where it exists or cannot be a name of the Hub, else the model's snapshot in the
 * Hub's cache, downloaded where it is not there. Errors: HUB001–HUB008, CKP009, CKP019.
 */
export async function localModel(request: LocalRequest): Promise<LocalModel> {
  const { key, value, revision, env, home, signal, configOnly = false, onProgress, onInfo } = request;
  const name = await hubNameOf(value, revision, k => request.origin(k), key);
  if (name === undefined) return { path: value, warnings: [] };
  const { dir, warnings, ...hub } = await download({
    name,
    settings: await hubSettings(env, home),
    configOnly,
    signal,
    ...(onProgress && { onProgress }),
    onWait: file => onInfo?.(`waiting for another process that downloads ${file} of ${name.repo}`),
  }).catch((error: unknown) => {
    throw value.startsWith("hf://") ? error : orMistyped(error, value);
  });
  onInfo?.(`${shownName(name)} is ${dir}`);
  return { path: dir, hub, warnings };
}

/** A path with a typing error looks like a name of the Hub: the network is then not what is wrong. */
function orMistyped(error: unknown, value: string): unknown {
  if (!(error instanceof MmtrtError)) return error;
  const problems = error.problems.map(problem =>
    problem.code === "HUB003" || problem.code === "HUB005"
      ? { ...problem, why: `${value} is no directory or file here, so the Hub's model is meant; ${problem.why}` }
      : problem,
  );
  return new MmtrtError(problems, { cause: error });
}
