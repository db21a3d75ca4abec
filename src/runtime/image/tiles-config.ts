import { gridsOf } from "../../vision/index.ts";
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

/**
 * LlavaNextImageProcessor and LlavaOnevisionImageProcessor. Both can resize and crop each tile once more, to the size that they are cut
 * in: only files that mean one size in all places are read.
 */
export function readAnyresTiles(reader: KeyReader, type: string): ImageProcessorConfig {
  const isOneVision = type.startsWith("LlavaOnevision");
  const usual = isOneVision ? { height: 384, width: 384 } : { shortest_edge: 224 };
  const tile = readSquare(reader, "size", reader.take("size") ?? usual);
  const crops = reader.flag("do_center_crop", !isOneVision);
  const crop = reader.take("crop_size") ?? (isOneVision ? undefined : 224);
  const cut = crop === undefined ? tile : readSquare(reader, "crop_size", crop);
  if (cut !== tile) reader.problem("crop_size", `is ${cut}, but size is ${tile}; expected the same`);
  if (crops && crop === undefined) reader.problem("crop_size", "is not there, but do_center_crop is true");
  const setting = reader.take("aspect_ratio_setting") ?? "anyres";
  if (setting !== "anyres") reader.problem("aspect_ratio_setting", `is ${JSON.stringify(setting)}; expected "anyres"`);
  const grids = readGrids(reader, tile, isOneVision ? ONEVISION_PINPOINTS : NEXT_PINPOINTS);
  const mean = reader.triple("image_mean", CLIP_MEAN);
  const [red, green, blue] = mean.map(value => Math.trunc(value * 255)) as [number, number, number];
  const tiles: TileFit = { kind: "anyres", tile, grids, ...(isOneVision && { squareSeveral: [red, green, blue] }) };
  // Images of a batch are padded to as many tiles by do_pad, which nobody sees.
  const ignored = ["do_pad", "default_to_square"];
  return readPixels(reader, type, tiles, { resample: 3, mean: CLIP_MEAN, std: CLIP_STD, ignored });
}

/** A number, `shortest_edge`, or `height` and `width`, which must be the same. */
function readSquare(reader: KeyReader, key: string, value: unknown): number {
  if (typeof value !== "object" || value === null) return reader.edge(key, value);
  const { shortest_edge: shortest, height, width } = value as Readonly<Record<string, unknown>>;
  if (shortest !== undefined && shortest !== null) return reader.edge(`${key}.shortest_edge`, shortest);
  if (height !== width) reader.problem(key, `is ${JSON.stringify(value)}; expected a square`);
  return reader.edge(`${key}.height`, height);
}

const SIX = [1, 2, 3, 4, 5, 6];
/** The classes' own, in pixels of their usual towers. */
const ONEVISION_PINPOINTS = SIX.flatMap(rows => SIX.map(cols => [384 * rows, 384 * cols]));
const NEXT_PINPOINTS = [
  [1, 2],
  [2, 1],
  [2, 2],
  [3, 1],
  [1, 3],
].map(([rows = 1, cols = 1]) => [336 * rows, 336 * cols]);

/** `image_grid_pinpoints`, heights and widths in pixels, as rows and columns of tiles. */
function readGrids(reader: KeyReader, tile: number, usual: readonly unknown[]): readonly (readonly [number, number])[] {
  const key = "image_grid_pinpoints";
  const value = reader.take(key) ?? usual;
  const grids = gridsOf(value, tile, 1);
  if (grids === undefined)
    reader.problem(
      key,
      `is ${JSON.stringify(value)?.slice(0, 100)}; expected a list of [height, width] in tiles of ${tile}`,
    );
  return grids ?? [[1, 1]];
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
