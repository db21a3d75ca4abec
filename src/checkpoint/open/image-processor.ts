import { existsSync } from "node:fs";
import { join } from "node:path";
import { isJsonObject, type JsonObject, readJsonObject } from "../../formats/json.ts";
import { knownArchitecture } from "../../models/registry.ts";
import type { OpenedModel } from "../../tensor/index.ts";

/** Where a directory says how images are processed; `readsProcessor` architectures read them as keys of config.json. */
const IMAGE_KEY = "image_processor_cfg";
const PROCESSOR_KEY = "processor_cfg";

/**
 * config.json with the image processor's settings under `image_processor_cfg`, and the processor's own under `processor_cfg`, for
 * an architecture that counts its tokens by them. Others, and directories without the files, keep what they have.
 */
export async function withImageProcessor(model: OpenedModel): Promise<OpenedModel> {
  return { ...model, config: await withProcessorConfig(model.dir, model.config) };
}

export async function withProcessorConfig<Config extends Readonly<Record<string, unknown>>>(
  dir: string,
  config: Config,
): Promise<Config> {
  // An unknown class is told of when the model is read.
  if (knownArchitecture(config)?.readsProcessor !== true) return config;
  const { image_processor: nested, ...processor } = await jsonIn(dir, "processor_config.json");
  const image = isJsonObject(nested) ? nested : await jsonIn(dir, "preprocessor_config.json");
  return {
    ...config,
    ...(Object.keys(image).length > 0 && { [IMAGE_KEY]: image }),
    ...(Object.keys(processor).length > 0 && { [PROCESSOR_KEY]: processor }),
  };
}

function jsonIn(dir: string, name: string): Promise<JsonObject> {
  const file = join(dir, name);
  return existsSync(file) ? readJsonObject(file) : Promise.resolve({});
}
