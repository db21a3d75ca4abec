import { type PatchGrid, resizedForPatches } from "../../vision/index.ts";
import { MAX_PIXELS, tooLarge } from "./decode.ts";
import type { ImageProcessorConfig, PatchFit } from "./processor.ts";
import { resizeWindow } from "./resample.ts";
import type { RgbImage } from "./rgb.ts";

/** Patches of one picture as the vision encoder takes them. */
export interface PatchRows {
  /** Pixels of the resized picture. */
  readonly height: number;
  readonly width: number;
  readonly patches: PatchGrid;
  /** [patches, 3 × temporal_patch × patch × patch]: patches of a feature follow each other, features go row by row. */
  readonly data: Float32Array;
}

/** Errors: RUN002 for pictures that are too large when resized. `values`: of each channel what the pixels 0 … 255 are. */
export function cutIntoPatches(
  image: RgbImage,
  fit: PatchFit,
  config: ImageProcessorConfig,
  values: readonly Float32Array[],
): PatchRows {
  const { patch, merge, minPixels, maxPixels } = fit;
  const { height, width } = resizedForPatches({ patch, merge, min_pixels: minPixels, max_pixels: maxPixels }, image);
  if (height * width > MAX_PIXELS) tooLarge("the picture resized for its patches", width, height);
  const resized = resizeWindow(image, width, height, config.resample, { backend: config.backend });
  const patches = { frames: 1, rows: height / patch, cols: width / patch };
  return { height, width, patches, data: rowsOf(resized, fit, values) };
}

/** The image is as many frames as a patch has, all alike. */
function rowsOf(
  image: RgbImage,
  { patch, merge, temporalPatch }: PatchFit,
  values: readonly Float32Array[],
): Float32Array {
  const data = new Float32Array(image.data.length * temporalPatch);
  const plane = patch * patch;
  const edge = patch * merge;
  let at = 0;
  for (let top = 0; top < image.height; top += edge) {
    for (let left = 0; left < image.width; left += edge) {
      for (let cell = 0; cell < merge * merge; cell++) {
        const corner = { top: top + Math.floor(cell / merge) * patch, left: left + (cell % merge) * patch };
        for (const [channel, table] of values.entries()) {
          readPatch(image, { ...corner, patch, channel }, table, data, at);
          for (let frame = 1; frame < temporalPatch; frame++) data.copyWithin(at + frame * plane, at, at + plane);
          at += temporalPatch * plane;
        }
      }
    }
  }
  return data;
}

interface Place {
  readonly top: number;
  readonly left: number;
  readonly patch: number;
  readonly channel: number;
}

function readPatch(
  { data: pixels, width }: RgbImage,
  { top, left, patch, channel }: Place,
  table: Float32Array,
  data: Float32Array,
  start: number,
): void {
  let at = start;
  for (let y = top; y < top + patch; y++) {
    let from = (y * width + left) * 3 + channel;
    for (let x = 0; x < patch; x++, from += 3) data[at++] = table[pixels[from] as number] as number;
  }
}
