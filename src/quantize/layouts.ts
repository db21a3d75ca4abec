import { type FloatDtype, halfDtype, type TensorRecipe, type WeightLayout } from "../tensor/index.ts";

/** What a generation's kernels expect of the matrix [k, n] of codes. */
interface Arrangement {
  /** Rows of k are reordered inside groups, so that a thread's loads give the operands of one tensor-core instruction. */
  readonly permutesRows: boolean;
  /** Outputs whose 64-row tiles alternate in memory. */
  readonly interleaves: boolean;
  /** Codes are made unsigned and reordered in each 32-bit register, which makes the conversion to float cheap. */
  readonly biases: boolean;
}

const ARRANGEMENTS: Readonly<Record<Exclude<WeightLayout, "plain">, Arrangement>> = {
  sm70: { permutesRows: false, interleaves: false, biases: true },
  sm80: { permutesRows: true, interleaves: true, biases: true },
  sm90: { permutesRows: false, interleaves: false, biases: false },
};

/** Inputs that are one after the other in an interleaved column. */
const TILE = 64;

/** Output row r of a group of 16 (INT8) or 32 (INT4) is input row P[r]. */
const ROW_ORDER = {
  8: [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15],
  4: [
    0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11, 18, 19, 26, 27, 4, 5, 12, 13, 20, 21, 28, 29, 6, 7, 14, 15, 22, 23, 30,
    31,
  ],
} as const;

/** Place in a register's four bytes, or eight half bytes, from the low end: which code of the sequence stands there. */
const REGISTER_ORDER = { 8: [0, 2, 1, 3], 4: [0, 2, 4, 6, 1, 3, 5, 7] } as const;

/** Outputs in a group of interleaved columns. */
const INTERLEAVED = { 8: 2, 4: 4 } as const;

/**
 * Codes [n, k] as TensorRT-LLM's preprocess_weights_for_mixed_gemm leaves them for one GPU generation. All of its orders
 * go output by output, so a band is a group of outputs. The shape says [k, n] all the same, as the files do.
 */
export function permuted(codes: TensorRecipe, bits: 8 | 4, layout: Exclude<WeightLayout, "plain">): TensorRecipe {
  const [n = 0, k = 0] = codes.shape;
  if (k % TILE !== 0 || n % TILE !== 0) throw new Error(`${codes.name} [${codes.shape}] has no whole tiles of ${TILE}`);
  const width = (n * bits) / 8;
  const arrangement = ARRANGEMENTS[layout];
  // A stored row of `width` bytes holds part of one output or several outputs: read whole groups and cut.
  const outputBytes = (k * bits) / 8;
  const group = arrangement.interleaves ? INTERLEAVED[bits] : 1;
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const first = Math.floor((start * width) / outputBytes / group) * group;
    const last = Math.min(n, Math.ceil((end * width) / outputBytes / group) * group);
    const source = await codes.readRows(first, last);
    const bytes = arrange(new Int8Array(source.buffer, source.byteOffset, source.byteLength), k, bits, arrangement);
    const from = start * width - first * outputBytes;
    return bytes.subarray(from, from + (end - start) * width);
  };
  return { name: codes.name, dtype: "int8", shape: [k, width], sources: codes.sources, readRows };
}

/** Four INT4 codes as one 16-bit float: how TensorRT-LLM keeps group-wise weights, int8 [k, n / 2] as [k, n / 4]. */
export function asHalves(codes: TensorRecipe, float: FloatDtype): TensorRecipe {
  const [k = 0, width = 0] = codes.shape;
  return { ...codes, dtype: halfDtype(float), shape: [k, width / 2], opaque: true };
}

function arrange(codes: Int8Array, k: number, bits: 8 | 4, arrangement: Arrangement): Uint8Array {
  const order = sourceOrder(k, bits, arrangement);
  const block = order.length;
  const register = REGISTER_ORDER[bits];
  const bias = arrangement.biases ? 2 ** (bits - 1) : 0;
  const out = new Uint8Array((codes.length * bits) / 8);
  for (let i = 0; i < codes.length; i++) {
    const inRegister = i % register.length;
    const place = arrangement.biases ? i - inRegister + (register[inRegister] as number) : i;
    const code = (codes[place - (place % block) + (order[place % block] as number)] as number) + bias;
    if (bits === 8) out[i] = code;
    else out[i >> 1] = (out[i >> 1] as number) | ((code & 15) << (4 * (i & 1)));
  }
  return out;
}

/** For one group of interleaved outputs: position in the sequence → position in codes [outputs, k]. */
function sourceOrder(k: number, bits: 8 | 4, { permutesRows, interleaves }: Arrangement): Uint32Array {
  const outputs = interleaves ? INTERLEAVED[bits] : 1;
  const order = new Uint32Array(outputs * k);
  const rows = ROW_ORDER[bits];
  for (let i = 0; i < order.length; i++) {
    const tile = Math.floor(i / (TILE * outputs));
    const output = interleaves ? Math.floor(i / TILE) % outputs : 0;
    const row = interleaves ? tile * TILE + (i % TILE) : i;
    const place = row % rows.length;
    order[i] = output * k + (permutesRows ? row - place + (rows[place] as number) : row);
  }
  return order;
}
