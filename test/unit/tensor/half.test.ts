import { describe, expect, it } from "vitest";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "../../../src/tensor/index.ts";

const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);

/** The value of a pattern by the definition of the format, in double precision. */
function definedValue(h: number, exponentBits: number, mantissaBits: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >>> mantissaBits) & (2 ** exponentBits - 1);
  const mantissa = h & (2 ** mantissaBits - 1);
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  return sign * (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
}

const formats = [
  { name: "float16", exponent: 5, mantissa: 10, decode: f16ToF32, encode: f32ToF16, infinity: 0x7c00 },
  { name: "bfloat16", exponent: 8, mantissa: 7, decode: bf16ToF32, encode: f32ToBf16, infinity: 0x7f80 },
];

describe.each(formats)("$name", ({ exponent, mantissa, decode, encode, infinity }) => {
  const encodeOne = (value: number): number => {
    const out = new Uint16Array(1);
    encode(Float32Array.of(value), out);
    return out[0] as number;
  };

  it("decodes all 65536 patterns to the value the format defines", () => {
    const out = new Float32Array(65536);
    decode(patterns, out);
    const wrong = Array.from(patterns).filter(h => !Object.is(out[h], definedValue(h, exponent, mantissa)));
    expect(wrong).toEqual([]);
  });

  it("gives every pattern back, NaN payloads made quiet", () => {
    const floats = new Float32Array(65536);
    const back = new Uint16Array(65536);
    decode(patterns, floats);
    encode(floats, back);
    const quiet = 1 << (mantissa - 1);
    const expected = patterns.map(h => ((h & 0x7fff) > infinity ? h | quiet : h));
    expect(back).toEqual(expected);
  });

  it("rounds to nearest with ties to even between every two neighbours, both signs", () => {
    const next = new Float32Array(1);
    const bits = new Uint32Array(next.buffer);
    const wrong: string[] = [];
    for (let h = 0; h < infinity; h++) {
      const low = definedValue(h, exponent, mantissa);
      // Beyond the largest finite value the next step is where infinity would be if the exponent went on.
      const high = h + 1 === infinity ? 2 ** (2 ** (exponent - 1)) : definedValue(h + 1, exponent, mantissa);
      next[0] = (low + high) / 2;
      const even = h & 1 ? h + 1 : h;
      if (encodeOne(next[0]) !== even) wrong.push(`tie after ${h}`);
      if (encodeOne(-next[0]) !== (even | 0x8000)) wrong.push(`negative tie after ${h}`);
      bits[0] = (bits[0] as number) + 1;
      if (encodeOne(next[0]) !== h + 1) wrong.push(`above the tie after ${h}`);
      bits[0] = (bits[0] as number) - 2;
      if (encodeOne(next[0]) !== h) wrong.push(`below the tie after ${h}`);
    }
    expect(wrong).toEqual([]);
  });

  it("overflows to infinity, keeps NaN a NaN and underflows to a signed zero", () => {
    expect(encodeOne(Number.POSITIVE_INFINITY)).toBe(infinity);
    expect(encodeOne(-3.4028234663852886e38)).toBe(infinity | 0x8000);
    expect(encodeOne(Number.NaN) & 0x7fff).toBeGreaterThan(infinity);
    expect(encodeOne(-1e-45)).toBe(0x8000);
    expect(encodeOne(-0)).toBe(0x8000);
  });

  it("reads views that start inside their buffer", () => {
    const source = new Float32Array([9, 1, -2, 0.5, 9]).subarray(1, 4);
    const target = new Uint16Array(5).subarray(1, 4);
    encode(source, target);
    const back = new Float32Array(5).subarray(1, 4);
    decode(target, back);
    expect(Array.from(back)).toEqual([1, -2, 0.5]);
  });
});
