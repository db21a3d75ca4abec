import { f16At, f16Values } from "./scales.ts";

/**
 * Super-blocks of 256 values. Products are rounded to float32 one by one, as ggml and gguf-py compute without fused
 * multiply-add; storing into `out` rounds the last step.
 */

/** d, dmin (float16), 12 bytes of 6-bit scales and minima, 128 × two 4-bit: v = (d · scale) · q − dmin · min, by 32 values. */
export function decodeQ4K(blocks: Uint8Array, out: Float32Array): void {
  const sub = new SubScales();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 144, o += 256) {
    sub.read(blocks, b);
    for (let s = 0; s < 8; s++) {
      const d = sub.scales[s] as number;
      const m = sub.minima[s] as number;
      const from = b + 16 + (s >> 1) * 32;
      const shift = (s & 1) * 4;
      for (let l = 0; l < 32; l++)
        out[o + s * 32 + l] = Math.fround(d * (((blocks[from + l] as number) >> shift) & 15)) - m;
    }
  }
}

/** As Q4_K with 32 bytes of fifth bits before the nibbles: bit s of byte l belongs to value l of sub-block s. */
export function decodeQ5K(blocks: Uint8Array, out: Float32Array): void {
  const sub = new SubScales();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 176, o += 256) {
    sub.read(blocks, b);
    for (let s = 0; s < 8; s++) {
      const d = sub.scales[s] as number;
      const m = sub.minima[s] as number;
      const from = b + 48 + (s >> 1) * 32;
      const shift = (s & 1) * 4;
      for (let l = 0; l < 32; l++) {
        const high = (((blocks[b + 16 + l] as number) >> s) & 1) << 4;
        out[o + s * 32 + l] = Math.fround(d * ((((blocks[from + l] as number) >> shift) & 15) | high)) - m;
      }
    }
  }
}

/** 128 bytes of low 4 bits, 64 of high 2 bits, 16 × int8 scales, d: v = (d · scale) · (q − 32), by 16 values. */
export function decodeQ6K(blocks: Uint8Array, out: Float32Array): void {
  const halves = f16Values();
  for (let b = 0, o = 0; b < blocks.byteLength; b += 210) {
    const d = f16At(halves, blocks, b + 208);
    for (let e = 0; e < 256; e++) {
      const half = e >> 7;
      const low = ((blocks[b + half * 64 + (e & 63)] as number) >> (((e >> 6) & 1) * 4)) & 15;
      const high = ((blocks[b + 128 + half * 32 + (e & 31)] as number) >> (((e >> 5) & 3) * 2)) & 3;
      const scale = ((blocks[b + 192 + (e >> 4)] as number) << 24) >> 24;
      out[o++] = Math.fround(d * scale) * ((low | (high << 4)) - 32);
    }
  }
}

/** Eight scales and eight minima of 6 bits in 12 bytes: the first four of each whole, the top bits of the others above them. */
class SubScales {
  readonly scales = new Float32Array(8);
  readonly minima = new Float32Array(8);
  readonly #halves = f16Values();

  /** Reads d and dmin at `at` and the 12 bytes that follow; both products are rounded by the arrays. */
  read(blocks: Uint8Array, at: number): void {
    const d = f16At(this.#halves, blocks, at);
    const dmin = f16At(this.#halves, blocks, at + 2);
    for (let j = 0; j < 4; j++) {
      const a = blocks[at + 4 + j] as number;
      const b = blocks[at + 8 + j] as number;
      const c = blocks[at + 12 + j] as number;
      this.scales[j] = d * (a & 63);
      this.minima[j] = dmin * (b & 63);
      this.scales[j + 4] = d * ((c & 15) | ((a >> 2) & 48));
      this.minima[j + 4] = dmin * ((c >> 4) | ((b >> 2) & 48));
    }
  }
}
