import type { ImageTokens, PatchGrid } from "../../vision/index.ts";
import { fitPage } from "./page.ts";
import { cutIntoPatches } from "./patches.ts";
import type { Backend, ImageProcessorConfig } from "./processor-config.ts";
import { resizeWindow, type Window } from "./resample.ts";
import { paste, type RgbImage } from "./rgb.ts";
import { padToSquare } from "./square.ts";
import { cutIntoTiles } from "./tiles.ts";

/** Pixels ready for the vision encoder: planes R, G, B of height × width, of each tile where the image is cut. */
export interface PixelValues {
  readonly height: number;
  readonly width: number;
  /** tiles × 3 × height × width; of patches the rows of `PatchRows`. */
  readonly data: Float32Array;
  /** There where the picture is cut into patches. */
  readonly patches?: PatchGrid;
  /** What the image brings; absent where every image of the model brings the same. */
  readonly tokens?: ImageTokens;
}

export function tilesIn({ height, width, data }: PixelValues): number {
  return data.length / (3 * height * width);
}

/** Resize, centre crop or cut up, rescale and normalize as Hugging Face's Pillow-backed image processors do, bit for bit. `isOneOfSeveral`: in its prompt. */
export function preprocess(image: RgbImage, config: ImageProcessorConfig, isOneOfSeveral = false): PixelValues {
  if (config.page !== undefined) return toPlanes(fitPage(image, config.page, config.resample, config.backend), config);
  if (config.tiles !== undefined) return stacked(cutIntoTiles(image, config.tiles, config, isOneOfSeveral), config);
  if (config.patches !== undefined)
    return cutIntoPatches(
      image,
      config.patches,
      config,
      [0, 1, 2].map(channel => valueTable(config, channel)),
    );
  const square = config.squarePad === undefined ? image : padToSquare(image, config.squarePad);
  return toPlanes(resizeAndCrop(square, config), config);
}

/** Size the whole picture would be resized to; the long edge is truncated, as in Python's int(). */
export function resizedSize(
  image: { readonly width: number; readonly height: number },
  config: ImageProcessorConfig,
): { readonly width: number; readonly height: number } {
  const { resize } = config;
  if (resize === undefined) return { width: image.width, height: image.height };
  if (!("shortest" in resize)) return resize;
  const [short, long] = image.width <= image.height ? [image.width, image.height] : [image.height, image.width];
  const newLong = Math.trunc((resize.shortest * long) / short);
  return image.width <= image.height
    ? { width: resize.shortest, height: newLong }
    : { width: newLong, height: resize.shortest };
}

function resizeAndCrop(image: RgbImage, config: ImageProcessorConfig): RgbImage {
  const { width, height } = resizedSize(image, config);
  const crop = config.crop ?? { width, height };
  const x = cropSpan(width, crop.width, config.backend);
  const y = cropSpan(height, crop.height, config.backend);
  const window: Window = { left: x.from, right: x.to, top: y.from, bottom: y.to };
  const part =
    config.resize === undefined
      ? cut(image, window)
      : resizeWindow(image, width, height, config.resample, { window, backend: config.backend });
  if (part.width === crop.width && part.height === crop.height) return part;
  return paste(part, { width: crop.width, height: crop.height, left: x.pad, top: y.pad });
}

/** Along one axis: the part of the picture that the centre crop keeps, and the black pixels before it. */
function cropSpan(size: number, crop: number, backend: Backend): { from: number; to: number; pad: number } {
  if (crop > size) {
    return {
      from: 0,
      to: size,
      pad: (backend === "pillow" ? Math.ceil : Math.floor)((crop - size) / 2),
    };
  }
  const from = Math.floor((size - crop) / 2);
  return { from, to: from + crop, pad: 0 };
}

function cut(image: RgbImage, window: Window): RgbImage {
  return paste(image, {
    width: window.right - window.left,
    height: window.bottom - window.top,
    left: -window.left,
    top: -window.top,
  });
}

function stacked(tiles: readonly RgbImage[], config: ImageProcessorConfig): PixelValues {
  const [{ height, width } = { height: 0, width: 0 }] = tiles;
  const data = new Float32Array(tiles.length * 3 * height * width);
  for (const [i, tile] of tiles.entries()) data.set(toPlanes(tile, config).data, i * 3 * height * width);
  return { height, width, data };
}

/** (pixel · factor − mean) / std, each step rounded to float32 as numpy does; the product is made in float64 first. */
function toPlanes(image: RgbImage, config: ImageProcessorConfig): PixelValues {
  const pixels = image.width * image.height;
  const data = new Float32Array(pixels * 3);
  for (let c = 0; c < 3; c++) {
    const table = valueTable(config, c);
    for (let i = 0; i < pixels; i++) data[c * pixels + i] = table[image.data[i * 3 + c] as number] as number;
  }
  return { height: image.height, width: image.width, data };
}

function valueTable(config: ImageProcessorConfig, channel: number): Float32Array {
  const table = Float32Array.from({ length: 256 }, (_, pixel) => pixel * (config.rescale ?? 1));
  if (config.normalize === undefined) return table;
  const mean = Math.fround(config.normalize.mean[channel] as number);
  const std = Math.fround(config.normalize.std[channel] as number);
  return table.map(value => Math.fround(value - mean) / std);
}
