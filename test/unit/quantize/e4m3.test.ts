import { describe, expect, it } from "vitest";
import { toE4m3 } from "../../../src/quantize/e4m3.ts";

/** The value of a code, by the definition of the format: bias 7, subnormals of 2^-9, no infinities. */
function numberOf(code: number): number {
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  const size = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return (code & 0x80) !== 0 ? -size : size;
}

const CODES = Array.from({ length: 256 }, (_, code) => code).filter(code => (code & 0x7f) !== 0x7f);

describe("E4M3", () => {
  it("has every value of the format as its own code", () => {
    for (const code of CODES) expect(toE4m3(numberOf(code))).toBe(code);
    expect(toE4m3(Number.NaN)).toBe(0x7f);
  });

  it("rounds to the nearest value, and to the even code half way", () => {
    const sizes = CODES.filter(code => code < 0x80);
    for (const code of sizes.slice(0, -1)) {
      const [low, high] = [numberOf(code), numberOf(code + 1)];
      const middle = (low + high) / 2;
      expect(toE4m3(middle)).toBe(code % 2 === 0 ? code : code + 1);
      expect(toE4m3(low + (high - low) * 0.49)).toBe(code);
      expect(toE4m3(-(low + (high - low) * 0.51))).toBe((code + 1) | 0x80);
    }
  });

  it("saturates beyond 448 instead of becoming NaN", () => {
    for (const value of [449, 464, 480, 1e9, Number.POSITIVE_INFINITY]) {
      expect(toE4m3(value)).toBe(0x7e);
      expect(toE4m3(-value)).toBe(0xfe);
    }
  });
});
