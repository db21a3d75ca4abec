import { stat } from "node:fs/promises";
import type { Metadata, Sharp } from "sharp";
import { fail, MmtrtError } from "../../diagnostics/index.ts";
import { type RgbImage, rgbImage } from "./rgb.ts";

/** 2 × Pillow's MAX_IMAGE_PIXELS: where Image.open raises DecompressionBombError. */
export const MAX_PIXELS = 178_956_970;

/** Resampling weights take memory in proportion to the longer edge, so a 1 × 178956970 strip is not worth reading. */
const MAX_EDGE = 1 << 20;

/** Vector formats would be drawn at a size of libvips' choosing, and may name other files. */
const REFUSED_FORMATS: readonly string[] = ["svg", "pdf"];

/**
 * Pixels of an image file as `PIL.Image.open(file).convert("RGB")` gives them: alpha dropped, not blended; palettes
 * looked up; EXIF orientation and colour profiles ignored; the first frame of an animation.
 * @throws MmtrtError RUN001 not an image, cut short or missing; RUN002 too many pixels.
 */
export async function decodeImage(file: string): Promise<RgbImage> {
  const info = await stat(file).catch((error: NodeJS.ErrnoException) => undecodable(file, error.code ?? error.message));
  if (!info.isFile()) undecodable(file, "not a regular file");
  const { default: sharp } = await import("sharp");
  const open = (): Sharp => sharp(file, { ignoreIcc: true, failOn: "error", limitInputPixels: false });
  try {
    const metadata = await open().metadata();
    checkMetadata(file, metadata);
    return await toRgb(open(), metadata);
  } catch (error) {
    if (error instanceof MmtrtError) throw error;
    return undecodable(file, (error as Error).message.trim().split("\n")[0] ?? "unknown error");
  }
}

function checkMetadata(file: string, metadata: Metadata): void {
  if (REFUSED_FORMATS.includes(metadata.format)) undecodable(file, `${metadata.format} is not a bitmap`);
  if (metadata.depth !== "uchar" && metadata.depth !== "ushort") undecodable(file, `${metadata.depth} samples`);
  const width = metadata.width;
  const height = metadata.pageHeight ?? metadata.height;
  if (width * height <= MAX_PIXELS && Math.max(width, height) <= MAX_EDGE) return;
  tooLarge(file, width, height);
}

/** @throws MmtrtError RUN002, also for the canvas that a picture would be padded to. */
export function tooLarge(at: string, width: number, height: number): never {
  return fail({
    code: "RUN002",
    what: `${at} is ${width} × ${height}; at most ${MAX_PIXELS} pixels and ${MAX_EDGE} along an edge are processed`,
    at,
    why: "Hugging Face's processors refuse pictures of this size too, since a small file can claim any size",
    fix: "scale the picture down",
  });
}

function toRgb(image: Sharp, metadata: Metadata): Promise<RgbImage> {
  if (metadata.space === "cmyk") return cmykToRgb(image);
  // Pillow's mode I;16 clips to 255 where its 16-bit colour modes keep the high byte.
  if (metadata.depth === "ushort" && metadata.channels === 1) return grey16ToRgb(image);
  return rawRgb(image);
}

async function rawRgb(image: Sharp): Promise<RgbImage> {
  const { data, info } = await image.removeAlpha().toColourspace("srgb").raw().toBuffer({ resolveWithObject: true });
  return rgbImage(info.width, info.height, info.channels === 3 ? bytes(data) : greyToRgb(data, info.channels));
}

function bytes(data: Buffer): Uint8Array<ArrayBuffer> {
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
}

function greyToRgb(data: Uint8Array | Uint16Array, channels: number): Uint8Array<ArrayBuffer> {
  const pixels = data.length / channels;
  const out = new Uint8Array(pixels * 3);
  for (let i = 0; i < pixels; i++) out.fill(Math.min(255, data[i * channels] as number), i * 3, i * 3 + 3);
  return out;
}

async function grey16ToRgb(image: Sharp): Promise<RgbImage> {
  const { data, info } = await image
    .pipelineColourspace("grey16")
    .toColourspace("grey16")
    .raw({ depth: "ushort" })
    .toBuffer({ resolveWithObject: true });
  const aligned = new Uint8Array(data);
  return rgbImage(info.width, info.height, greyToRgb(new Uint16Array(aligned.buffer), info.channels));
}

/** Pillow's CMYK → RGB without profiles: k' = 255 − K, channel = k' − round(C · k' / 255). */
async function cmykToRgb(image: Sharp): Promise<RgbImage> {
  const { data, info } = await image
    .pipelineColourspace("cmyk")
    .toColourspace("cmyk")
    .raw()
    .toBuffer({ resolveWithObject: true });
  const out = rgbImage(info.width, info.height);
  for (let i = 0; i < info.width * info.height; i++) {
    const white = 255 - (data[i * info.channels + 3] as number);
    for (let c = 0; c < 3; c++) {
      const product = (data[i * info.channels + c] as number) * white + 128;
      out.data[i * 3 + c] = Math.max(0, white - (((product >> 8) + product) >> 8));
    }
  }
  return out;
}

function undecodable(file: string, reason: string): never {
  return fail({
    code: "RUN001",
    what: `${file} cannot be decoded as an image (${reason}); expected PNG, JPEG, WebP, GIF, TIFF or AVIF`,
    at: file,
    why: "the vision encoder needs the picture's pixels, and part of a picture would give another answer",
    fix: "check the path, or save the picture again as PNG",
  });
}
