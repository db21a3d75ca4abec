/**
 * 16-bit floats held as Uint16Array (Node 20 has no Float16Array). Everything works on bit patterns, so infinities,
 * subnormals and NaN payloads survive; rounding is to nearest, ties to even, as IEEE 754 and PyTorch do.
 * `dst` must be at least as long as `src`.
 */

/** float32 bits of every float16 pattern: 256 KB, made on first use; one load a value beats the arithmetic. */
let f16Bits: Uint32Array | undefined;

export function f16ToF32(src: Uint16Array, dst: Float32Array): void {
  f16Bits ??= f16Table();
  const table = f16Bits;
  const out = bitsOf(dst);
  for (let i = 0; i < src.length; i++) out[i] = table[src[i] as number] as number;
}

export function f32ToF16(src: Float32Array, dst: Uint16Array): void {
  const bits = bitsOf(src);
  for (let i = 0; i < bits.length; i++) {
    const u = bits[i] as number;
    const a = u & 0x7fffffff;
    // 2^-14 ≤ |x| < 2^16: rebias the exponent and round at bit 13; a carry walks into the exponent, up to infinity.
    const fast = a >= 0x38800000 && a < 0x47800000;
    const magnitude = fast ? (a - 0x38000000 + 0xfff + ((a >>> 13) & 1)) >>> 13 : f16Edge(a);
    dst[i] = ((u >>> 16) & 0x8000) | magnitude;
  }
}

export function bf16ToF32(src: Uint16Array, dst: Float32Array): void {
  const out = bitsOf(dst);
  for (let i = 0; i < src.length; i++) out[i] = (src[i] as number) << 16;
}

export function f32ToBf16(src: Float32Array, dst: Uint16Array): void {
  const bits = bitsOf(src);
  for (let i = 0; i < bits.length; i++) {
    const u = bits[i] as number;
    // A NaN must not round up into infinity or into the sign: keep its top bits and make it quiet.
    dst[i] = (u & 0x7fffffff) > 0x7f800000 ? (u >>> 16) | 0x40 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
  }
}

/** |x| below 2^-14 (subnormal or zero) or from 2^16 on (infinity or NaN), as float16 magnitude bits. */
function f16Edge(a: number): number {
  if (a >= 0x47800000) return a > 0x7f800000 ? 0x7e00 | ((a >>> 13) & 0x3ff) : 0x7c00;
  const shift = 126 - (a >>> 23); // the unit of a float16 subnormal is 2^-24
  if (shift > 24) return 0;
  const mantissa = (a & 0x7fffff) | 0x800000;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0);
}

function f16Table(): Uint32Array {
  const table = new Uint32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const sign = (h & 0x8000) << 16;
    const exponent = (h >>> 10) & 31;
    const mantissa = h & 0x3ff;
    if (exponent === 31) table[h] = sign | 0x7f800000 | (mantissa << 13);
    else if (exponent > 0) table[h] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    else if (mantissa === 0) table[h] = sign;
    else {
      const top = 31 - Math.clz32(mantissa); // value = mantissa · 2^-24, normal in float32
      table[h] = sign | ((top + 103) << 23) | ((mantissa << (23 - top)) & 0x7fffff);
    }
  }
  return table;
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}
