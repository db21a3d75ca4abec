import { bestGrid, gridForAspectRatio, resizedForTiles } from "../../vision/index.ts";
import { MAX_PIXELS, tooLarge } from "./decode.ts";
import type { AnyresFit, AspectRatioFit, ImageProcessorConfig, LongestEdgeFit, TileFit } from "./processor.ts";
import { resizeWindow } from "./resample.ts";
import { paste, type RgbImage } from "./rgb.ts";
import { padToSquare } from "./square.ts";

type Resize = (from: RgbImage, width: number, height: number) => RgbImage;

/** Every step rounds to 8 bits, as the processors' own resizes do. `isOneOfSeveral`: in its prompt. */
export function cutIntoTiles(
  image: RgbImage,
  fit: TileFit,
  config: ImageProcessorConfig,
  isOneOfSeveral: boolean,
): readonly RgbImage[] {
  const resize: Resize = (from, width, height) => {
    if (width * height > MAX_PIXELS) tooLarge("the picture resized for its tiles", width, height);
    return resizeWindow(from, width, height, config.resample, { backend: config.backend });
  };
  if (fit.kind === "longest_edge") return ofLongestEdge(image, fit, resize);
  if (fit.kind === "aspect_ratio") return ofAspectRatio(image, fit, resize);
  const { squareSeveral, tile } = fit;
  if (!isOneOfSeveral || squareSeveral === undefined) return ofAnyres(image, fit, resize);
  return [resize(padToSquare(image, squareSeveral), tile, tile)];
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

/** The edge that fills its grid is exact, the other one rounded up; an odd rest of the bars goes below and right. */
function ofAnyres(image: RgbImage, { tile, grids }: AnyresFit, resize: Resize): RgbImage[] {
  const { rows, cols } = bestGrid({ tile, grids }, image);
  const canvas = { width: cols * tile, height: rows * tile };
  if (canvas.width * canvas.height > MAX_PIXELS) tooLarge("the grid of its tiles", canvas.width, canvas.height);
  const [across, down] = [canvas.width / image.width, canvas.height / image.height];
  const width = across < down ? canvas.width : Math.min(Math.ceil(image.width * down), canvas.width);
  const height = across < down ? Math.min(Math.ceil(image.height * across), canvas.height) : canvas.height;
  const [left, top] = [Math.floor((canvas.width - width) / 2), Math.floor((canvas.height - height) / 2)];
  const whole = paste(resize(image, width, height), { ...canvas, left, top });
  return [resize(image, tile, tile), ...cut(whole, tile)];
}

/** Row by row. */
function cut(whole: RgbImage, tile: number): RgbImage[] {
  const [rows, cols] = [whole.height / tile, whole.width / tile];
  return Array.from({ length: rows * cols }, (_, i) => {
    const [left, top] = [-(i % cols) * tile, -Math.floor(i / cols) * tile];
    return paste(whole, { width: tile, height: tile, left, top });
  });
}
