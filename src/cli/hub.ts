import { homedir } from "node:os";
import { join } from "node:path";
import type { LocalModel } from "../checkpoint/hub/local.ts";
import type { DownloadRecord } from "../checkpoint/manifest.ts";
import { withProcessorConfig } from "../checkpoint/open/image-processor.ts";
import { type JsonObject, readJsonObject } from "../formats/json.ts";
import { environment } from "../options/env.ts";
import type { Ui } from "./ui.ts";

export interface HubContext {
  readonly ui: Ui;
  readonly signal: AbortSignal;
  origin(key: string): string;
}

interface Wanted {
  readonly key: string;
  readonly value: string | undefined;
  readonly revision?: string | undefined;
  readonly configOnly?: boolean;
}

/** The paths of options that take a directory or a model of the Hub, in their order, and what was downloaded for them. */
export async function localPaths(
  context: HubContext,
  wanted: readonly Wanted[],
): Promise<{ readonly paths: readonly (string | undefined)[]; readonly hub: readonly DownloadRecord[] }> {
  const paths: (string | undefined)[] = [];
  const hub: DownloadRecord[] = [];
  for (const { value, ...rest } of wanted) {
    const model = value === undefined ? undefined : await localPath(context, { ...rest, value });
    paths.push(model?.path);
    if (model?.hub) hub.push({ option: rest.key, ...model.hub });
  }
  return { paths, hub };
}

/** config.json of a model of the Hub, with its image processor's settings where they count, or the JSON file that the value names. Errors: HUB001–HUB008, CKP001, CKP008. */
export async function hubConfig(context: HubContext, wanted: Wanted): Promise<JsonObject | undefined> {
  if (wanted.value === undefined) return undefined;
  const { path, hub } = await localPath(context, { ...wanted, value: wanted.value, configOnly: true });
  if (hub === undefined) return readJsonObject(path);
  return withProcessorConfig(path, await readJsonObject(join(path, "config.json")));
}

async function localPath({ ui, signal, origin }: HubContext, wanted: Wanted & { value: string }): Promise<LocalModel> {
  const { localModel } = await import("../checkpoint/hub/local.ts");
  const model = await localModel({
    ...wanted,
    env: environment(),
    home: homedir(),
    signal,
    origin,
    onProgress: progress => ui.progress({ id: `download ${wanted.key}`, ...progress, unit: "B" }),
    onInfo: message => ui.info(message),
  });
  for (const warning of model.warnings) ui.warn(warning);
  return model;
}
