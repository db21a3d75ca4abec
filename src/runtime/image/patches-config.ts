import { isSize } from "../../vision/index.ts";
import { PIL_RESAMPLING } from "./filters.ts";
import { CLIP_MEAN, CLIP_STD, IGNORED, type KeyReader } from "./key-reader.ts";
import type { ImageProcessorConfig, PatchFit } from "./processor.ts";

/** Qwen2VLImageProcessor, which all Qwen VL models have; `size` bounds pixels, and min_pixels and max_pixels go before it. */
export function readPatches(reader: KeyReader, type: string): ImageProcessorConfig {
  if (!reader.flag("do_resize", true)) reader.problem("do_resize", "is false; expected true");
  const patches = { ...geometry(reader), ...limits(reader) };
  if (patches.minPixels > patches.maxPixels)
    reader.problem("min_pixels", `is ${patches.minPixels}; expected at most max_pixels, ${patches.maxPixels}`);
  const resample = reader.index("resample", 3, PIL_RESAMPLING);
  const rescale = reader.flag("do_rescale", true);
  const factor = reader.number("rescale_factor", 1 / 255);
  const normalize = reader.flag("do_normalize", true);
  const mean = reader.triple("image_mean", CLIP_MEAN);
  const std = reader.triple("image_std", CLIP_STD);
  if (std.includes(0)) reader.problem("image_std", `is ${JSON.stringify(std)}; expected no zeros`);
  reader.finish([...IGNORED, "default_to_square", "do_center_crop", "crop_size", "do_pad"]);
  return {
    resample,
    patches,
    backend: type.endsWith("Fast") ? "torchvision" : "pillow",
    ...(rescale && { rescale: factor }),
    ...(normalize && { normalize: { mean, std } }),
  };
}

function geometry(reader: KeyReader): Pick<PatchFit, "patch" | "merge" | "temporalPatch"> {
  return {
    patch: reader.edge("patch_size", reader.take("patch_size") ?? 14),
    merge: reader.count("merge_size", 2),
    temporalPatch: reader.count("temporal_patch_size", 2),
  };
}

interface PixelSize {
  readonly shortest_edge?: unknown;
  readonly longest_edge?: unknown;
  readonly min_pixels?: unknown;
  readonly max_pixels?: unknown;
}

/** Edges by name, pixels by number. transformers 4.45 saved them in `size` under the names of the older keys. */
function limits(reader: KeyReader): Pick<PatchFit, "minPixels" | "maxPixels"> {
  const size = (reader.take("size") ?? {}) as PixelSize;
  const pixels = (key: string, inside: unknown, fallback: number): number => {
    const value = reader.take(key) ?? inside ?? fallback;
    if (isSize(value)) return value;
    reader.problem(key, `is ${JSON.stringify(value)}; expected a whole number of pixels up to 16777216`);
    return fallback;
  };
  return {
    minPixels: pixels("min_pixels", size.shortest_edge ?? size.min_pixels, 56 * 56),
    maxPixels: pixels("max_pixels", size.longest_edge ?? size.max_pixels, 28 * 28 * 1280),
  };
}
