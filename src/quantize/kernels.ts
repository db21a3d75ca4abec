import type { FloatDtype } from "../tensor/index.ts";
import {
  type Code,
  compileWasm,
  instantiate,
  type WasmFunction,
  type WasmMemory,
  type WasmModule,
  wasm as w,
} from "./wasm.ts";

/**
 * Weight-only arithmetic with WebAssembly SIMD, four values at a time; `codes.ts` has the same in JavaScript for shapes
 * that are no multiples of 16. Pointers are byte offsets into the memory the kernels share with their caller.
 */
export interface WeightKernels {
  /**
   * Largest magnitude of each of `groups` runs of `groupBytes` (a multiple of 16) as bits of the dtype, u32 each: the
   * order of magnitudes is the order of their bits, and NaN comes after infinity.
   */
  largest(source: number, groups: number, groupBytes: number, target: number): void;
  /**
   * Codes of 16 rows of `columns` values (a multiple of 16), `rowBytes` apart, divided by the 16 float32 at `scales` and
   * written column by column: 16 codes (INT4: 8 bytes) every `targetStride` bytes. A scale must be neither 0 nor NaN.
   */
  quantize(
    source: number,
    rowBytes: number,
    columns: number,
    scales: number,
    target: number,
    targetStride: number,
  ): void;
}

const modules = new Map<string, WasmModule>();

/** Kernels for one dtype and width over `memory`. */
export function weightKernels(dtype: FloatDtype, bits: 8 | 4, memory: WasmMemory): WeightKernels {
  const key = `${dtype}|${bits}`;
  const module = modules.get(key) ?? compileWasm([largest(dtype), quantize(dtype, bits)]);
  modules.set(key, module);
  return instantiate(module, memory) as WeightKernels;
}

/** Parameters 0 source, 1 groups, 2 groupBytes, 3 target; locals 4 end of the group, 5 end of all; 6 mask, 7 most. */
function largest(dtype: FloatDtype): WasmFunction {
  const half = dtype !== "float32";
  const fold = (lanes: readonly number[]): Code => [
    w.get(7),
    w.get(7),
    w.get(7),
    w.shuffle(lanes),
    half ? w.i16MaxUnsigned : w.i32MaxUnsigned,
    w.set(7),
  ];
  const from = (first: number): number[] => Array.from({ length: 16 }, (_, i) => (i + first) % 16);
  const body: Code = [
    w.splatBits(half ? 0x7fff7fff : 0x7fffffff),
    w.set(6),
    [w.get(3), w.get(1), w.i32(4), w.multiply, w.add, w.set(5)],
    w.loop([
      [w.splatBits(0), w.set(7)],
      [w.get(0), w.get(2), w.add, w.set(4)],
      w.loop([
        [w.get(7), w.get(0), w.load(), w.get(6), w.and, half ? w.i16MaxUnsigned : w.i32MaxUnsigned, w.set(7)],
        [w.get(0), w.i32(16), w.add, w.tee(0), w.get(4), w.lessUnsigned],
      ]),
      [from(8), from(4), ...(half ? [from(2)] : [])].map(fold),
      [w.get(3), w.get(7), w.lane32(0), half ? [w.i32(0xffff), 0x71] : [], w.storeI32],
      [w.get(3), w.i32(4), w.add, w.tee(3), w.get(5), w.lessUnsigned],
    ]),
  ];
  return { name: "largest", params: 4, i32: 2, v128: 2, body };
}

const TILE = 16;
/** Adding 1.5 · 2^23 to a number of ±2^22 rounds it and leaves the whole number in the low bits of the float. */
const MAGIC = 12_582_912;
const MAGIC_BITS = 0x4b400000;
/**
 * float16's exponent and mantissa moved to float32's place are the value times 2^-112, of subnormals as well. Quotients
 * keep that factor and the magic number has it too: any that could round to a code of ±1 is still a normal number.
 */
const HALF_BIAS = -112;

/**
 * Parameters 0 source, 1 rowBytes, 2 columns, 3 scales, 4 target, 5 targetStride; locals 6 row, 7 end of the first row,
 * 8 the target of a column; v128 from 9: 16 rows, 16 more for the transpose, 1 of work, constants.
 */
function quantize(dtype: FloatDtype, bits: 8 | 4): WasmFunction {
  const size = dtype === "float32" ? 4 : 2;
  const rows = Array.from({ length: TILE }, (_, r) => r);
  const loads = rows.map(r => [
    [r === 0 ? w.get(0) : [w.get(6), w.get(1), w.add], w.set(6)],
    codesOfRow(dtype, r, size),
    bits === 4 ? [w.get(LOWEST), w.i8MaxSigned, w.get(HIGHEST), w.i8MinSigned] : [],
    w.set(ROW + r),
  ]);
  const stores = rows.map(column => [
    w.get(8),
    w.get(ROW + column),
    bits === 4 ? PACK : [],
    bits === 4 ? w.storeLow64 : w.store,
    [w.get(8), w.get(5), w.add, w.set(8)],
  ]);
  const body: Code = [
    [w.get(0), w.get(2), w.i32(size), w.multiply, w.add, w.set(7)],
    [w.get(4), w.set(8)],
    w.loop([loads, transpose16(), stores, [w.get(0), w.i32(TILE * size), w.add, w.tee(0), w.get(7), w.lessUnsigned]]),
  ];
  return {
    name: "quantize",
    params: 6,
    i32: 3,
    v128: 2 * TILE + 1 + constants(dtype).length,
    body: [constants(dtype), body],
  };
}

/** Held in locals: an engine makes a constant anew wherever it stands. */
function constants(dtype: FloatDtype): readonly Code[] {
  const bias = dtype === "float16" ? HALF_BIAS : 0;
  return [
    [w.splatBits(1), w.set(TIE)],
    [w.splatF32(MAGIC * 2 ** bias), w.set(MAGIC_FLOAT)],
    [w.splatBits(MAGIC_BITS + (bias << 23)), w.set(MAGIC_INT)],
    [w.splatBits(0x8fffe000), w.set(HALF_MASK)],
    [w.splatBits(0), w.set(ZERO)],
    [w.splatBits(0xf8f8f8f8), w.set(LOWEST)],
    [w.splatBits(0x0f0f0f0f), w.set(LOW_HALVES)],
    [w.splatBits(0x00ff00ff), w.set(EVEN_BYTES)],
    [w.splatBits(0x07070707), w.set(HIGHEST)],
  ];
}

const ROW = 9;
const OTHER = ROW + TILE;
const QUOTIENT = OTHER + TILE;
const TIE = QUOTIENT + 1;
const MAGIC_FLOAT = TIE + 1;
const MAGIC_INT = TIE + 2;
const HALF_MASK = TIE + 3;
const ZERO = TIE + 4;
const LOWEST = TIE + 5;
const LOW_HALVES = TIE + 6;
const EVEN_BYTES = TIE + 7;
const HIGHEST = TIE + 8;

/** 16 codes of the row at local 6, as bytes. */
function codesOfRow(dtype: FloatDtype, row: number, size: number): Code {
  // Half away from zero: a lowest bit of 1 moves a tie off the half and no other quotient over it; the magic number rounds.
  const quarter = (part: number): Code => [
    valuesAt(dtype, part, size),
    [w.get(3), w.loadSplat32(4 * row), w.f32Divide],
    [w.get(TIE), w.or, w.get(MAGIC_FLOAT), w.f32Add, w.get(MAGIC_INT), w.i32Subtract],
  ];
  return [
    [quarter(0), quarter(1), w.i16Narrow32Signed],
    [quarter(2), quarter(3), w.i16Narrow32Signed],
    w.i8Narrow16Signed,
  ];
}

/** Four float32 of the row at local 6: numbers 4 · part … 4 · part + 3 from there; float16 ones times 2^HALF_BIAS. */
function valuesAt(dtype: FloatDtype, part: number, size: number): Code {
  if (dtype === "float32") return [w.get(6), w.load(4 * size * part)];
  // Halves in the high 16 bits of a lane each: what bfloat16 is in float32.
  const first = part % 2 === 0 ? 0 : 8;
  const lanes = Array.from({ length: 16 }, (_, i) => first + 2 * (i >> 2) + (i % 2) + (i % 4 < 2 ? 0 : 16));
  const wide = [w.get(ZERO), w.get(6), w.load(8 * size * (part >> 1)), w.shuffle(lanes)];
  if (dtype === "bfloat16") return wide;
  return [wide, w.i32(3), w.i32ShiftRightSigned, w.get(HALF_MASK), w.and];
}

/** Four rounds, each interleaving rows r and r + 8 byte by byte; after them column j is where row j was. */
function transpose16(): Code {
  const low = Array.from({ length: TILE }, (_, i) => (i >> 1) + (i % 2) * TILE);
  const high = low.map(lane => lane + 8);
  const round = (from: number, to: number): Code =>
    Array.from({ length: 8 }, (_, r) => [
      [w.get(from + r), w.get(from + r + 8), w.shuffle(low), w.set(to + 2 * r)],
      [w.get(from + r), w.get(from + r + 8), w.shuffle(high), w.set(to + 2 * r + 1)],
    ]);
  return [round(ROW, OTHER), round(OTHER, ROW), round(ROW, OTHER), round(OTHER, ROW)];
}

/** 16 codes of four bits as 8 bytes, the first of a pair in the low half. */
const PACK: Code = [
  [w.get(LOW_HALVES), w.and, w.tee(QUOTIENT), w.get(QUOTIENT)],
  [w.i32(4), w.i16ShiftRightUnsigned, w.or, w.get(EVEN_BYTES), w.and, w.tee(QUOTIENT)],
  [w.get(QUOTIENT), w.i8Narrow16Unsigned],
];
