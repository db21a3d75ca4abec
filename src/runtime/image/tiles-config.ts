import { PIL_RESAMPLING } from "./filters.ts";
import { CLIP_MEAN, CLIP_STD, IGNORED, type KeyReader, type Triple } from "./key-reader.ts";
import type { ImageProcessorConfig, TileFit } from "./processor.ts";

/** Idefics3ImageProcessor and SmolVLMImageProcessor, whose numbers are the same. */
export function readTiled(reader: KeyReader, type: string): ImageProcessorConfig {
  const edge = (key: string, fallback: number): number => {
    const value = reader.take(key) as { readonly longest_edge?: unknown } | undefined;
    return reader.edge(`${key}.longest_edge`, (value ?? { longest_edge: fallback }).longest_edge);
  };
  const tiles: TileFit = {
    kind: "longest_edge",
    longestEdge: edge("size", 4 * 364),
    tile: edge("max_image_size", 364),
    splits: reader.flag("do_image_splitting", true),
  };
  const half: Triple = [0.5, 0.5, 0.5];
  // Tiles have one size, so there is nothing to pad; video_sampling is about frames.
  const ignored = ["do_pad", "return_row_col_info", "video_sampling"];
  return readPixels(reader, type, tiles, { resample: 1, mean: half, std: half, ignored });
}

/** GotOcr2ImageProcessor, which InternVL has; its processor cuts images whatever crop_to_patches says here. */
export function readAspectRatioTiles(reader: KeyReader, type: string): ImageProcessorConfig {
  const size = (reader.take("size") ?? { height: 384, width: 384 }) as { height?: unknown; width?: unknown };
  const tile = reader.edge("size.height", size.height);
  if (size.width !== size.height) reader.problem("size", `is ${JSON.stringify(size)}; expected a square`);
  const tiles: TileFit = {
    ...{ kind: "aspect_ratio", tile },
    ...{ minTiles: reader.count("min_patches", 1), maxTiles: reader.count("max_patches", 12) },
  };
  if (tiles.minTiles > tiles.maxTiles)
    reader.problem("min_patches", `is ${tiles.minTiles}; expected at most max_patches, ${tiles.maxTiles}`);
  const ignored = ["crop_to_patches", "do_center_crop", "crop_size", "default_to_square", "do_pad"];
  return readPixels(reader, type, tiles, { resample: 3, mean: CLIP_MEAN, std: CLIP_STD, ignored });
}

interface Defaults {
  readonly resample: number;
  readonly mean: Triple;
  readonly std: Triple;
  readonly ignored: readonly string[];
}

function readPixels(reader: KeyReader, type: string, tiles: TileFit, defaults: Defaults): ImageProcessorConfig {
  if (!reader.flag("do_resize", true)) reader.problem("do_resize", "is false; expected true");
  const resample = reader.index("resample", defaults.resample, PIL_RESAMPLING);
  const rescale = reader.flag("do_rescale", true);
  const factor = reader.number("rescale_factor", 1 / 255);
  const normalize = reader.flag("do_normalize", true);
  const mean = reader.triple("image_mean", defaults.mean);
  const std = reader.triple("image_std", defaults.std);
  if (std.includes(0)) reader.problem("image_std", `is ${JSON.stringify(std)}; expected no zeros`);
  reader.finish([...IGNORED, ...defaults.ignored]);
  return {
    resample,
    tiles,
    backend: type.endsWith("Fast") ? "torchvision" : "pillow",
    ...(rescale && { rescale: factor }),
    ...(normalize && { normalize: { mean, std } }),
  };
}
