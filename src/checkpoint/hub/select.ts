import { posix } from "node:path";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { knownArchitecture } from "../../models/registry.ts";
import { extraFilesOf } from "../open/extra-files.ts";
import { FOLDERS, isFolderModel } from "../open/folders.ts";
import { findWeights, noCheckpoint } from "../open/layout.ts";

/** The files of a repository or of a snapshot on disk. */
export interface Listing {
  /** For messages. */
  readonly at: string;
  readonly names: ReadonlySet<string>;
  /** Fetches a small JSON file and reads it. */
  json(name: string): Promise<JsonObject>;
}

export interface Selection {
  /** config.json, tokenizer, processor, index: small. */
  readonly small: readonly string[];
  readonly weights: readonly string[];
  /** The weights are pickles, because there is nothing else. */
  readonly pickle: boolean;
}

/**
 * The files that mmtrt reads of a model: of several forms of its weights one, safetensors before pickles; no code, no
 * pictures, no copies for other frameworks. `configOnly` leaves the weights out, and all but what tells their sizes. Errors: CKP019, CKP008 of the JSON files.
 */
export async function selectFiles(listing: Listing, configOnly: boolean): Promise<Selection> {
  const { names } = listing;
  const config = names.has("config.json") ? await listing.json("config.json") : undefined;
  const folders = config !== undefined && isFolderModel(config) ? FOLDERS : undefined;
  if (configOnly) {
    if (config === undefined) throw noCheckpoint(listing.at, "config.json is missing");
    const parts = (folders ?? []).map(folder => `${folder}/config.json`).filter(name => names.has(name));
    return { small: ["config.json", ...parts, ...processorFiles(config, names)], weights: [], pickle: false };
  }
  if (folders === undefined) return selectFolder(listing, "", config !== undefined);
  const own = [...filesIn(names, "")];
  const parts = await Promise.all(folders.map(folder => selectFolder(listing, folder, true)));
  return {
    small: ["config.json", ...extraFilesOf(own), ...parts.flatMap(part => part.small)],
    weights: parts.flatMap(part => part.weights),
    pickle: parts.some(part => part.pickle),
  };
}

/** How many tokens an image brings stands in them, where the architecture reads them. */
function processorFiles(config: JsonObject, names: ReadonlySet<string>): readonly string[] {
  if (knownArchitecture(config)?.readsProcessor !== true) return [];
  return ["preprocessor_config.json", "processor_config.json"].filter(name => names.has(name));
}

async function selectFolder(listing: Listing, folder: string, hasConfig: boolean): Promise<Selection> {
  const own = filesIn(listing.names, folder);
  const found = findWeights(folder === "" ? listing.at : `${listing.at}/${folder}`, own);
  if (!hasConfig && found.format !== "gguf") throw noCheckpoint(listing.at, "config.json is missing");
  const inside = (name: string): string => posix.join(folder, name);
  const weights = found.indexed ? await shardsOf(listing, inside(found.file), folder) : [inside(found.file)];
  const small = [...own.filter(name => name === "config.json"), ...extraFilesOf(own)].map(inside);
  return {
    small: found.indexed ? [...small, inside(found.file)] : small,
    weights,
    pickle: found.format === "torch",
  };
}

/** What the index names; openHf checks the names again when it reads them. */
async function shardsOf(listing: Listing, index: string, folder: string): Promise<readonly string[]> {
  const { weight_map } = await listing.json(index);
  const shards = isJsonObject(weight_map) ? new Set(Object.values(weight_map)) : new Set();
  const paths = [...shards].filter(shard => typeof shard === "string").map(shard => posix.join(folder, shard));
  const missing = paths.filter(path => !listing.names.has(path));
  if (missing.length > 0) throw noCheckpoint(listing.at, `${index} names ${missing.slice(0, 3).join(", ")}, not there`);
  if (paths.length === 0) throw noCheckpoint(listing.at, `${index} names no file`);
  return paths.sort();
}

function filesIn(names: ReadonlySet<string>, folder: string): string[] {
  const start = folder === "" ? "" : `${folder}/`;
  return [...names]
    .filter(name => name.startsWith(start) && !name.slice(start.length).includes("/"))
    .map(name => name.slice(start.length))
    .sort();
}
