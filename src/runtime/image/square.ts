import { MAX_PIXELS, tooLarge } from "./decode.ts";
import { paste, type RgbImage } from "./rgb.ts";

/** Bars of one colour on both sides of the shorter edge. Errors: RUN002 where that makes too many pixels. */
export function padToSquare(image: RgbImage, fill: readonly [number, number, number]): RgbImage {
  const edge = Math.max(image.width, image.height);
  if (image.width === image.height) return image;
  if (edge * edge > MAX_PIXELS) tooLarge("the picture padded to a square", edge, edge);
  const left = Math.floor((edge - image.width) / 2);
  const top = Math.floor((edge - image.height) / 2);
  return paste(image, { width: edge, height: edge, left, top }, fill);
}
