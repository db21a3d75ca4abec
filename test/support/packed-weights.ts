import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";

/**
 * The bytes of a file of 16-bit numbers, high bytes first and then low ones, compressed. Weights that `shapes/shorten.py` left 6
 * bits of mantissa take 60 % of their size so.
 */
export function pack(file: Uint8Array): Uint8Array {
  const half = Math.ceil(file.length / 2);
  const planes = new Uint8Array(file.length);
  for (let i = 0; i < file.length; i++) planes[(i & 1) === 0 ? i >> 1 : half + (i >> 1)] = file[i] as number;
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  return brotliCompressSync(planes, { params });
}

export function unpack(packed: Uint8Array): Uint8Array {
  const planes = brotliDecompressSync(packed);
  const half = Math.ceil(planes.length / 2);
  return Uint8Array.from(planes, (_, i) => planes[(i & 1) === 0 ? i >> 1 : half + (i >> 1)] as number);
}
