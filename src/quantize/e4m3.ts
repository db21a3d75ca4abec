import { roundHalfEven } from "./lazy.ts";

/** Largest finite value of E4M3: 1.75 · 2^8. */
export const E4M3_MAX = 448;

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/**
 * The nearest E4M3 value (sign, 4 bits of exponent with bias 7, 3 of mantissa, no infinities), ties to even; beyond ±448
 * it saturates, as ONNX's QuantizeLinear does. NaN stays NaN.
 */
export function toE4m3(value: number): number {
  if (Number.isNaN(value)) return 0x7f;
  float[0] = value;
  const sign = (bits[0] as number) >>> 31 === 1 ? 0x80 : 0;
  const size = Math.min(Math.abs(value), E4M3_MAX);
  // Below 2^-6 steps are 2^-9; a carry makes the smallest normal value by itself.
  if (size < 2 ** -6) return sign | roundHalfEven(size * 512);
  float[0] = size;
  const exponent = ((bits[0] as number) >>> 23) - 127;
  return sign | (((exponent + 7) << 3) + roundHalfEven((size / 2 ** exponent - 1) * 8));
}
