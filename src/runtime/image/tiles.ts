import { resizedForTiles } from "../../vision/index.ts";
import { MAX_PIXELS, tooLarge } from "./decode.ts";
import type { ImageProcessorConfig, TileFit } from "./processor.ts";
import { resizeWindow } from "./resample.ts";
import { paste, type RgbImage } from "./rgb.ts";

/** Every step rounds to 8 bits, as the processors' own resizes do: the global tile is made of the picture that is cut. */
export function cutIntoTiles(image: RgbImage, fit: TileFit, config: ImageProcessorConfig): readonly RgbImage[] {
  const { tile } = fit;
  const { first, tiled } = resizedForTiles({ longest_edge: fit.longestEdge, tile }, image);
  const to = (from: RgbImage, width: number, height: number): RgbImage => {
    if (width * height > MAX_PIXELS) tooLarge("the picture resized for its tiles", width, height);
    return resizeWindow(from, width, height, config.resample, { backend: config.backend });
  };
  const resized = to(image, first.width, first.height);
  if (!fit.splits) return [to(resized, tile, tile)];
  const whole = to(resized, tiled.width, tiled.height);
  const [rows, cols] = [tiled.height / tile, tiled.width / tile];
  if (rows === 1 && cols === 1) return [whole];
  const cut = Array.from({ length: rows * cols }, (_, i) => {
    const [left, top] = [-(i % cols) * tile, -Math.floor(i / cols) * tile];
    return paste(whole, { width: tile, height: tile, left, top });
  });
  return [...cut, to(whole, tile, tile)];
}
