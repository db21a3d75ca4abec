import { gridForAspectRatio, resizedForTiles } from "../../vision/index.ts";
import { MAX_PIXELS, tooLarge } from "./decode.ts";
import type { AspectRatioFit, ImageProcessorConfig, LongestEdgeFit, TileFit } from "./processor.ts";
import { resizeWindow } from "./resample.ts";
import { paste, type RgbImage } from "./rgb.ts";

type Resize = (from: RgbImage, width: number, height: number) => RgbImage;

/** Every step rounds to 8 bits, as the processors' own resizes do. */
export function cutIntoTiles(image: RgbImage, fit: TileFit, config: ImageProcessorConfig): readonly RgbImage[] {
  const resize: Resize = (from, width, height) => {
    if (width * height > MAX_PIXELS) tooLarge("the picture resized for its tiles", width, height);
    return resizeWindow(from, width, height, config.resample, { backend: config.backend });
  };
  return fit.kind === "aspect_ratio" ? ofAspectRatio(image, fit, resize) : ofLongestEdge(image, fit, resize);
}

/** The global tile is made of the picture that is cut. */
function ofLongestEdge(image: RgbImage, { longestEdge, tile, splits }: LongestEdgeFit, resize: Resize): RgbImage[] {
  const { first, tiled } = resizedForTiles({ longest_edge: longestEdge, tile }, image);
  const resized = resize(image, first.width, first.height);
  if (!splits) return [resize(resized, tile, tile)];
  const whole = resize(resized, tiled.width, tiled.height);
  if (tiled.width === tile && tiled.height === tile) return [whole];
  return [...cut(whole, tile), resize(whole, tile, tile)];
}

/** The global tile is made of the image as it was. */
function ofAspectRatio(image: RgbImage, { tile, minTiles, maxTiles }: AspectRatioFit, resize: Resize): RgbImage[] {
  const { rows, cols } = gridForAspectRatio({ tile, min_tiles: minTiles, max_tiles: maxTiles }, image);
  const whole = resize(image, cols * tile, rows * tile);
  return rows * cols === 1 ? [whole] : [...cut(whole, tile), resize(image, tile, tile)];
}

/** Row by row. */
function cut(whole: RgbImage, tile: number): RgbImage[] {
  const [rows, cols] = [whole.height / tile, whole.width / tile];
  return Array.from({ length: rows * cols }, (_, i) => {
    const [left, top] = [-(i % cols) * tile, -Math.floor(i / cols) * tile];
    return paste(whole, { width: tile, height: tile, left, top });
  });
}
