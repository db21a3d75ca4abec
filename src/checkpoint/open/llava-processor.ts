import { join } from "node:path";
import { type JsonObject, readJsonObject } from "../../formats/json.ts";
import type { OpenedModel } from "../../tensor/index.ts";
import { objectAt } from "./folders.ts";

const FILE = "preprocessor_config.json";

/**
 * LLaVA's and VILA's code changes pictures before the tower's image processor sees them, as `image_aspect_ratio` says:
 * pad makes them square with bars, resize ignores their shape. The processor file that `run` reads is made to say so.
 */
export async function withAspectRatio(model: OpenedModel): Promise<OpenedModel> {
  const ratio = model.config.image_aspect_ratio;
  if (ratio !== "pad" && ratio !== "resize") return model;
  const generated = model.generatedFiles.get(FILE);
  const stored = model.extraFiles.find(name => name === FILE || name.endsWith(`/${FILE}`));
  if (generated === undefined && stored === undefined) return model;
  const json =
    generated === undefined
      ? await readJsonObject(join(model.dir, stored as string))
      : (JSON.parse(generated) as JsonObject);
  const changed = ratio === "pad" ? padded(json) : resized(json);
  return {
    ...model,
    generatedFiles: new Map([...model.generatedFiles, [FILE, `${JSON.stringify(changed, undefined, 2)}\n`]]),
  };
}

/** transformers' LlavaImageProcessor is CLIP's with this padding. */
function padded(json: JsonObject): JsonObject {
  const { feature_extractor_type: _, ...rest } = json;
  return { ...rest, image_processor_type: "LlavaImageProcessor", do_pad: true };
}

/** To the size that would be cropped, edges apart; SigLIP's processor does so already. */
function resized(json: JsonObject): JsonObject {
  const crop = json.crop_size;
  const { height, width } = objectAt(json, "crop_size");
  const size = typeof crop === "number" ? { height: crop, width: crop } : { height, width };
  if (size.height === undefined || size.width === undefined) return json;
  return { ...json, do_resize: true, size: size as JsonObject, do_center_crop: false };
}
