import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { inflateSync } from "node:zlib";
import type { RgbImage } from "../../../../src/runtime/image/rgb.ts";

const DIR = new URL("../../../fixtures/image/", import.meta.url);

export function fixture(file: string): string {
  return fileURLToPath(new URL(file, DIR));
}

/** Cases written by test/reference/make_image_fixtures.py. */
export function cases<T>(file: string): readonly T[] {
  return JSON.parse(readFileSync(fixture(file), "utf8")) as readonly T[];
}

export function inflate(text: string): Uint8Array {
  return new Uint8Array(inflateSync(Buffer.from(text, "base64")));
}

export function inflateFloats(text: string): Float32Array {
  return new Float32Array(inflate(text).buffer);
}

/** The noise of test/reference/make_tile_image_fixtures.py. */
export function noise(height: number, width: number): RgbImage {
  const data = Uint8Array.from({ length: height * width * 3 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24);
  return { height, width, data };
}
