import { f16At, f16Values } from "./scales.ts";

/**
 * Blocks of 32 values. Each product is rounded to float32 before an addition, as ggml and gguf-py compute without fused
 * multiply-add; storing into `out` rounds the last step. In 4-bit blocks byte j holds value j low and value j + 16 high.
 */

/** d (float16), 32 × int8: v = d · q */
export function decodeQ80(blocks: Uint8Array, out: Float32Array): void {
  const halves = f16Values();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 34) {
    const d = f16At(halves, blocks, b);
    for (let j = 0; j < 32; j++) out[o++] = d * (((blocks[b + 2 + j] as number) << 24) >> 24);
  }
}

/** d, 16 × two 4-bit: v = d · (q − 8) */
export function decodeQ40(blocks: Uint8Array, out: Float32Array): void {
  const halves = f16Values();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 18, o += 32) {
    const d = f16At(halves, blocks, b);
    for (let j = 0; j < 16; j++) {
      const q = blocks[b + 2 + j] as number;
      out[o + j] = d * ((q & 15) - 8);
      out[o + j + 16] = d * ((q >> 4) - 8);
    }
  }
}

/** d, m, 16 × two 4-bit: v = d · q + m */
export function decodeQ41(blocks: Uint8Array, out: Float32Array): void {
  const halves = f16Values();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 20, o += 32) {
    const d = f16At(halves, blocks, b);
    const m = f16At(halves, blocks, b + 2);
    for (let j = 0; j < 16; j++) {
      const q = blocks[b + 4 + j] as number;
      out[o + j] = Math.fround(d * (q & 15)) + m;
      out[o + j + 16] = Math.fround(d * (q >> 4)) + m;
    }
  }
}

/** d, 32 fifth bits, 16 × two 4-bit: v = d · (q − 16) */
export function decodeQ50(blocks: Uint8Array, out: Float32Array): void {
  const halves = f16Values();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 22, o += 32) {
    const d = f16At(halves, blocks, b);
    const high = bitsAt(blocks, b + 2);
    for (let j = 0; j < 16; j++) {
      const q = blocks[b + 6 + j] as number;
      out[o + j] = d * (((q & 15) | (((high >>> j) & 1) << 4)) - 16);
      out[o + j + 16] = d * (((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
    }
  }
}

/** d, m, 32 fifth bits, 16 × two 4-bit: v = d · q + m */
export function decodeQ51(blocks: Uint8Array, out: Float32Array): void {
  const halves = f16Values();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 24, o += 32) {
    const d = f16At(halves, blocks, b);
    const m = f16At(halves, blocks, b + 2);
    const high = bitsAt(blocks, b + 4);
    for (let j = 0; j < 16; j++) {
      const q = blocks[b + 8 + j] as number;
      out[o + j] = Math.fround(d * ((q & 15) | (((high >>> j) & 1) << 4))) + m;
      out[o + j + 16] = Math.fround(d * ((q >> 4) | (((high >>> (j + 16)) & 1) << 4))) + m;
    }
  }
}

function bitsAt(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)
  );
}
