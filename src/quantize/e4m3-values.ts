/** The value of every E4M3 byte: sign, 4 bits of exponent with bias 7, 3 of mantissa, no infinities; 0x7f and 0xff are NaN. */
export function fromE4m3(): Float32Array {
  return Float32Array.from({ length: 256 }, (_, byte) => {
    const sign = byte & 0x80 ? -1 : 1;
    const exponent = (byte >> 3) & 15;
    const mantissa = byte & 7;
    if (exponent === 15 && mantissa === 7) return Number.NaN;
    return sign * (exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7));
  });
}
