import type { Dtype } from "../../tensor/index.ts";
import { decodeQ4K, decodeQ5K, decodeQ6K } from "./k-quants.ts";
import { decodeQ40, decodeQ41, decodeQ50, decodeQ51, decodeQ80 } from "./simple-quants.ts";

/** Writes the values of whole blocks to `out`, computed in float32 as ggml does. */
export type Decode = (blocks: Uint8Array, out: Float32Array) => void;

/** How ggml packs a type: `blockSize` values in `blockBytes` bytes, always along the last axis. */
export interface GgmlType {
  readonly name: string;
  readonly blockSize: number;
  readonly blockBytes: number;
  /** For types whose bytes are the values. */
  readonly dtype?: Dtype;
  readonly decode?: Decode;
}

const plain = (name: string, dtype: Dtype, bytes: number): GgmlType => ({
  name,
  dtype,
  blockSize: 1,
  blockBytes: bytes,
});

/** By ggml's number. */
export const GGML_TYPES: Readonly<Record<number, GgmlType>> = {
  0: plain("F32", "float32", 4),
  1: plain("F16", "float16", 2),
  2: { name: "Q4_0", blockSize: 32, blockBytes: 18, decode: decodeQ40 },
  3: { name: "Q4_1", blockSize: 32, blockBytes: 20, decode: decodeQ41 },
  6: { name: "Q5_0", blockSize: 32, blockBytes: 22, decode: decodeQ50 },
  7: { name: "Q5_1", blockSize: 32, blockBytes: 24, decode: decodeQ51 },
  8: { name: "Q8_0", blockSize: 32, blockBytes: 34, decode: decodeQ80 },
  12: { name: "Q4_K", blockSize: 256, blockBytes: 144, decode: decodeQ4K },
  13: { name: "Q5_K", blockSize: 256, blockBytes: 176, decode: decodeQ5K },
  14: { name: "Q6_K", blockSize: 256, blockBytes: 210, decode: decodeQ6K },
  24: plain("I8", "int8", 1),
  25: plain("I16", "int16", 2),
  26: plain("I32", "int32", 4),
  27: plain("I64", "int64", 8),
  28: plain("F64", "float64", 8),
  30: plain("BF16", "bfloat16", 2),
};
