import { createHash } from "node:crypto";
import {
  byteLength,
  cast,
  elementCount,
  type FloatDtype,
  rowBytes,
  type Shape,
  type TensorRecipe,
} from "../tensor/index.ts";

/** Normal distribution to draw from. */
export interface Draw {
  readonly mean: number;
  readonly std: number;
}

/** 16 random bits choose one of 65 536 quantiles of the distribution, already rounded to the dtype: one table load a value. */
const QUANTILES = 65_536;
/** Random words are made in blocks with a seed each, so that any rows can be made without those before them. */
const BLOCK_WORDS = 4096;

/**
 * A tensor of seeded normal values, the same bytes for the same seed, name, shape and dtype in whatever bands it is
 * read. Not for statistics: at most 65 536 different values, none beyond 4.2 standard deviations.
 */
export function randomTensor(name: string, dtype: FloatDtype, shape: Shape, draw: Draw, seed: number): TensorRecipe {
  const key = createHash("sha256").update(`${seed}\0${name}\0${shape.join()}`).digest().readInt32LE(0);
  const row = rowBytes(dtype, shape);
  const total = byteLength(dtype, shape);
  let table: Promise<Uint8Array> | undefined;
  return {
    name,
    dtype,
    shape,
    sources: [],
    async readRows(start, end) {
      table ??= quantiles(dtype, draw);
      return valuesAt(start * row, Math.min(total, end * row), dtype, key, await table);
    },
  };
}

/** Bytes [start, end) of the tensor. */
function valuesAt(start: number, end: number, dtype: FloatDtype, key: number, table: Uint8Array): Uint8Array {
  const wide = dtype === "float32";
  const block = BLOCK_WORDS * (wide ? 8 : 4);
  const first = Math.floor(start / block);
  const out = new Uint8Array(Buffer.allocUnsafeSlow(Math.ceil(end / block) * block - first * block).buffer);
  for (let b = 0; b * block < out.byteLength; b++) fillBlock(out, b * block, mix(key, first + b), wide, table);
  return out.subarray(start - first * block, end - first * block);
}

/** One 32-bit random word gives two values; in the 16-bit dtypes they are stored as one word too. */
function fillBlock(out: Uint8Array, at: number, seed: number, wide: boolean, table: Uint8Array): void {
  const words = new Uint32Array(out.buffer, out.byteOffset + at, BLOCK_WORDS * (wide ? 2 : 1));
  const narrow = new Uint16Array(table.buffer, table.byteOffset, QUANTILES);
  // Bit patterns: a Uint32Array carries float32 as well.
  const full = wide ? new Uint32Array(table.buffer, table.byteOffset, QUANTILES) : undefined;
  // Marsaglia's xorshift32; zero is its only fixed point.
  let x = seed === 0 ? 0x2545f491 : seed;
  for (let i = 0; i < BLOCK_WORDS; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    if (full === undefined) words[i] = (narrow[x & 0xffff] as number) | ((narrow[x >>> 16] as number) << 16);
    else {
      words[2 * i] = full[x & 0xffff] as number;
      words[2 * i + 1] = full[x >>> 16] as number;
    }
  }
}

/** MurmurHash3's finalizer over seed and block number. */
function mix(key: number, block: number): number {
  let h = Math.imul(key ^ Math.imul(block + 1, 0x9e3779b1), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

const tables = new Map<string, Promise<Uint8Array>>();

function quantiles(dtype: FloatDtype, { mean, std }: Draw): Promise<Uint8Array> {
  const key = `${dtype} ${mean} ${std}`;
  const known = tables.get(key);
  if (known !== undefined) return known;
  // A table is 128–256 KB; a model has a handful of distributions, so a long list is a caller in a loop over models.
  if (tables.size > 64) tables.clear();
  const values = standardQuantiles().map(z => mean + std * z);
  const bytes = new Uint8Array(values.buffer);
  const recipe: TensorRecipe = {
    name: key,
    dtype: "float32",
    shape: [QUANTILES],
    sources: [],
    readRows: async (a, b) => bytes.subarray(a * 4, b * 4),
  };
  const table = cast(recipe, dtype).readRows(0, QUANTILES);
  tables.set(key, table);
  return table;
}

let standard: Float32Array | undefined;

/** Φ⁻¹((i + ½) / 65 536), by Newton steps on a running sum of the density: exact enough for random weights. */
function standardQuantiles(): Float32Array {
  if (standard !== undefined) return standard;
  const half = QUANTILES / 2;
  const z = new Float32Array(QUANTILES);
  let x = 0;
  for (let i = 0; i < half; i++) {
    // dx = dp / φ(x), corrected at the midpoint; φ(x) = exp(−x²/2) / √(2π).
    const step = (i === 0 ? 0.5 : 1) / QUANTILES;
    const slope = Math.sqrt(2 * Math.PI);
    const guess = x + step * slope * Math.exp((x * x) / 2);
    const middle = (x + guess) / 2;
    x += step * slope * Math.exp((middle * middle) / 2);
    z[half + i] = x;
    z[half - 1 - i] = -x;
  }
  standard = z;
  return z;
}

/** Weights drawn so that activations keep their size: 1/√fan_in for matrices and kernels, near 1 for norms, small otherwise. */
export function drawOf(name: string, shape: Shape): Draw {
  if (/norm\d?\.weight$|layrnorm\.weight$/.test(name)) return { mean: 1, std: 0.05 };
  if (shape.length < 2 || /embed/.test(name)) return { mean: 0, std: 0.02 };
  return { mean: 0, std: 1 / Math.sqrt(elementCount(shape.slice(1))) };
}
