import { fail } from "../../diagnostics/index.ts";
import { MAX_PIXELS, tooLarge } from "./decode.ts";
import type { FilterName } from "./filters.ts";
import type { Backend, PageFit } from "./processor-config.ts";
import { resizeWindow } from "./resample.ts";
import { paste, type RgbImage } from "./rgb.ts";

/** Levels of 255 below which a pixel, stretched from the darkest to the lightest, counts as ink. */
const INK = 200;

/** Margin cut off, shorter edge resized, shrunk until it fits, bars of zeros around it: [3, height, width] in the end. */
export function fitPage(image: RgbImage, page: PageFit, resample: FilterName, backend: Backend): RgbImage {
  const cropped = page.cropMargin ? cropMargin(image) : image;
  const resized = page.resize ? shortestEdge(cropped, Math.min(page.height, page.width), resample, backend) : cropped;
  const small = thumbnail(resized, page, backend);
  const [left, top] = [page.width - small.width, page.height - small.height].map(gap => Math.floor(gap / 2));
  return paste(small, { width: page.width, height: page.height, left: left ?? 0, top: top ?? 0 });
}

/** The smallest rectangle around everything that is not light; the whole picture when it has one shade. */
function cropMargin(image: RgbImage): RgbImage {
  const { width, height } = image;
  const grey = luminance(image);
  let [min, max] = [255, 0];
  for (const level of grey) [min, max] = [Math.min(min, level), Math.max(max, level)];
  if (min === max) return image;
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if ((((grey[y * width + x] as number) - min) / (max - min)) * 255 >= INK) continue;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), y];
    }
  }
  return paste(image, { width: right - left + 1, height: bottom - top + 1, left: -left, top: -top });
}

/** Pillow's mode L: (19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶. */
function luminance({ data }: RgbImage): Uint8Array {
  return Uint8Array.from({ length: data.length / 3 }, (_, i) => {
    const [r, g, b] = [data[3 * i], data[3 * i + 1], data[3 * i + 2]] as [number, number, number];
    return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >>> 16;
  });
}

function shortestEdge(image: RgbImage, edge: number, resample: FilterName, backend: Backend): RgbImage {
  const { width, height } = image;
  const long = Math.trunc((edge * Math.max(width, height)) / Math.min(width, height));
  const [w, h] = width <= height ? [edge, long] : [long, edge];
  if (w * h > MAX_PIXELS) tooLarge("the page with its shorter edge resized", w, h);
  return w === width && h === height ? image : resizeWindow(image, w, h, resample, { backend });
}

/** No side larger than the page's, the aspect kept by the longer one; by cubic interpolation, as Pillow's thumbnail. */
function thumbnail(image: RgbImage, page: PageFit, backend: Backend): RgbImage {
  let [width, height] = [Math.min(image.width, page.width), Math.min(image.height, page.height)];
  if (width === image.width && height === image.height) return image;
  if (image.height > image.width) width = Math.trunc((image.width * height) / image.height);
  else if (image.width > image.height) height = Math.trunc((image.height * width) / image.width);
  // From a factor of 4 on Pillow halves the picture before it resizes (reducing_gap 2), which gives other pixels.
  const factor = Math.max(image.width / Math.max(1, width), image.height / Math.max(1, height));
  if (width < 1 || height < 1 || factor >= 4) tooNarrow(image);
  return resizeWindow(image, width, height, "bicubic", { backend });
}

function tooNarrow({ width, height }: RgbImage): never {
  return fail({
    code: "RUN021",
    what: `the page is ${width} × ${height} pixels after its margin is cut off; expected sides within a factor of 5`,
    at: "--image",
    why: "it would be shrunk by 4 or more to fit, and its text would be lost",
    fix: "give a picture of one page",
  });
}
