import { PIL_RESAMPLING } from "./filters.ts";
import { IGNORED, type KeyReader } from "./key-reader.ts";
import type { ImageProcessorConfig } from "./processor.ts";

/** Idefics3ImageProcessor and SmolVLMImageProcessor, whose numbers are the same. */
export function readTiled(reader: KeyReader, type: string): ImageProcessorConfig {
  const edge = (key: string, fallback: number): number => {
    const value = reader.take(key) as { readonly longest_edge?: unknown } | undefined;
    return reader.edge(`${key}.longest_edge`, (value ?? { longest_edge: fallback }).longest_edge);
  };
  const tiles = {
    longestEdge: edge("size", 4 * 364),
    tile: edge("max_image_size", 364),
    splits: reader.flag("do_image_splitting", true),
  };
  if (!reader.flag("do_resize", true)) reader.problem("do_resize", "is false; expected true");
  const resample = reader.index("resample", 1, PIL_RESAMPLING);
  const rescale = reader.flag("do_rescale", true);
  const factor = reader.number("rescale_factor", 1 / 255);
  const normalize = reader.flag("do_normalize", true);
  const mean = reader.triple("image_mean", [0.5, 0.5, 0.5]);
  const std = reader.triple("image_std", [0.5, 0.5, 0.5]);
  if (std.includes(0)) reader.problem("image_std", `is ${JSON.stringify(std)}; expected no zeros`);
  // Tiles have one size, so there is nothing to pad; video_sampling is about frames.
  reader.finish([...IGNORED, "do_pad", "return_row_col_info", "video_sampling"]);
  return {
    resample,
    tiles,
    backend: type.endsWith("Fast") ? "torchvision" : "pillow",
    ...(rescale && { rescale: factor }),
    ...(normalize && { normalize: { mean, std } }),
  };
}
