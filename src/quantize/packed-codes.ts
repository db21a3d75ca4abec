import {
  cast,
  concatColumns,
  concatRows,
  type PackedLinear,
  type PackedPlanes,
  type Plane,
  recipeBytes,
  rowBytes,
  sliceColumns,
  sliceRows,
  type TensorRecipe,
  transpose,
} from "../tensor/index.ts";
import { toE4m3 } from "./e4m3.ts";
import { floatView } from "./lazy.ts";

/** Which place of a word, from the low end, holds the code of each of its columns. */
const IN_ORDER: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

interface Words {
  /** int32 [rows, words]. */
  readonly words: TensorRecipe;
  readonly bits: 4 | 8;
  /** Added to the unsigned code. */
  readonly offset: number;
  /** int16 for zero points, which reach 2^(bits − 1) itself. */
  readonly dtype: "int8" | "int16";
}

/** Words that hold 32 / bits codes of one column below each other, the first in the low bits: [rows, columns of `words`]. */
export function unpackRows({ words, bits, offset, dtype }: Words, rows: number): TensorRecipe {
  const [, columns = 0] = words.shape;
  const [perWord, mask] = [32 / bits, 2 ** bits - 1];
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const first = Math.floor(start / perWord);
    const source = wordsOf(await words.readRows(first, Math.ceil(end / perWord)));
    const out = codesOf(dtype, (end - start) * columns);
    for (let row = start, i = 0; row < end; row++) {
      const at = (Math.floor(row / perWord) - first) * columns;
      const shift = bits * (row % perWord);
      for (let c = 0; c < columns; c++) out[i++] = (((source[at + c] as number) >>> shift) & mask) + offset;
    }
    return new Uint8Array(out.buffer);
  };
  return { name: words.name, dtype, shape: [rows, columns], sources: words.sources, readRows };
}

/** Words that hold 32 / bits codes of one row side by side: [rows of `words`, columns]. */
export function unpackColumns(
  { words, bits, offset, dtype }: Words,
  columns: number,
  places: readonly number[] = IN_ORDER,
): TensorRecipe {
  const [rows = 0, width = 0] = words.shape;
  const [perWord, mask] = [32 / bits, 2 ** bits - 1];
  const shifts = places.map(place => bits * place);
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const source = wordsOf(await words.readRows(start, end));
    const out = codesOf(dtype, (end - start) * columns);
    for (let row = 0, i = 0; row < end - start; row++)
      for (let w = 0, left = columns; w < width; w++, left -= perWord) {
        const word = source[row * width + w] as number;
        for (let c = 0; c < perWord && c < left; c++) out[i++] = ((word >>> (shifts[c] as number)) & mask) + offset;
      }
    return new Uint8Array(out.buffer);
  };
  return { name: words.name, dtype, shape: [rows, columns], sources: words.sources, readRows };
}

/** uint8 [n / 2, k], two neighbouring outputs to a byte, the even one in the low half, in two's complement: int8 [n, k]. */
export function unpackOutputPairs(bytes: TensorRecipe): TensorRecipe {
  const [pairs = 0, k = 0] = bytes.shape;
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const first = Math.floor(start / 2);
    const source = await bytes.readRows(first, Math.ceil(end / 2));
    const out = new Int8Array((end - start) * k);
    for (let row = start, i = 0; row < end; row++) {
      const at = (Math.floor(row / 2) - first) * k;
      for (let c = 0; c < k; c++) out[i++] = ((source[at + c] as number) << (row % 2 === 0 ? 28 : 24)) >> 28;
    }
    return new Uint8Array(out.buffer);
  };
  return { name: bytes.name, dtype: "int8", shape: [2 * pairs, k], sources: bytes.sources, readRows };
}

/** int8 zero points as they are stored unpacked. */
export function widened(recipe: TensorRecipe): TensorRecipe {
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const { buffer, byteOffset, byteLength } = await recipe.readRows(start, end);
    return new Uint8Array(Int16Array.from(new Int8Array(buffer, byteOffset, byteLength)).buffer);
  };
  return { name: recipe.name, dtype: "int16", shape: recipe.shape, sources: recipe.sources, readRows };
}

export async function allZero(recipe: TensorRecipe): Promise<boolean> {
  for await (const bytes of recipeBytes(recipe)) if (!bytes.every(byte => byte === 0)) return false;
  return true;
}

/** With inputs on axis 0 and outputs on axis 1. */
export function inputsFirst({ recipe, turned }: Plane): TensorRecipe {
  return turned ? recipe : transpose(recipe);
}

export function outputsFirst({ recipe, turned }: Plane): TensorRecipe {
  return turned ? transpose(recipe) : recipe;
}

/** Outputs start … end − 1. */
export function sliceOutputs({ recipe, turned }: Plane, start: number, end: number): Plane {
  return { recipe: (turned ? sliceColumns : sliceRows)(recipe, start, end), turned };
}

/** Inputs, or groups of them, start … end − 1. */
export function sliceInputs({ recipe, turned }: Plane, start: number, end: number): Plane {
  return { recipe: (turned ? sliceRows : sliceColumns)(recipe, start, end), turned };
}

/** Outputs of several matrices one after the other. */
export function stackOutputs(planes: readonly Plane[]): Plane {
  const turned = planes.every(plane => plane.turned);
  const recipes = planes.map(plane => (turned ? plane.recipe : outputsFirst(plane)));
  return { recipe: (turned ? concatColumns : concatRows)(recipes), turned };
}

export function mapPlanes(planes: PackedPlanes, change: (plane: Plane) => Plane): PackedPlanes {
  const { codes, scales, zeros } = planes;
  return { codes: change(codes), scales: change(scales), ...(zeros && { zeros: change(zeros) }) };
}

/** Each group's scale (or zero point) `times` times: the same weights in smaller groups. */
export function repeatGroups(plane: Plane, times: number): Plane {
  if (times === 1) return plane;
  const recipe = inputsFirst(plane);
  const [groups = 0] = recipe.shape;
  const width = rowBytes(recipe.dtype, recipe.shape);
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const first = Math.floor(start / times);
    const rows = await recipe.readRows(first, Math.ceil(end / times));
    const out = new Uint8Array((end - start) * width);
    for (let row = start; row < end; row++) {
      const from = (Math.floor(row / times) - first) * width;
      out.set(rows.subarray(from, from + width), (row - start) * width);
    }
    return out;
  };
  const shape = [groups * times, ...recipe.shape.slice(1)];
  return { recipe: { name: recipe.name, dtype: recipe.dtype, shape, sources: recipe.sources, readRows }, turned: true };
}

/** The weights that codes stand for, in float32: [outputs, inputs]. */
export function dequantized(linear: PackedLinear): TensorRecipe {
  const { codes, scales, zeros } = linear;
  const turned = codes.turned;
  const along = (plane: Plane): TensorRecipe => (turned ? inputsFirst(plane) : outputsFirst(plane));
  const [c, s, z] = [codes.recipe, cast(along(scales), "float32"), zeros && along(zeros)];
  const perGroup = linear.inputs / linear.groups;
  const columns = turned ? linear.outputs : linear.inputs;
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const values = codeValues(c.dtype, await c.readRows(start, end));
    // Turned, a row of codes is one input, and a row of scales serves `perGroup` of them.
    const [from, to] = turned ? [Math.floor(start / perGroup), Math.ceil(end / perGroup)] : [start, end];
    const scale = floatView(await s.readRows(from, to));
    const zero = z && shortsOf(await z.readRows(from, to));
    const factor = linear.prequant && floatView(await cast(linear.prequant, "float32").readRows(0, 1));
    const out = new Float32Array(values.length);
    for (let row = start, i = 0; row < end; row++)
      for (let column = 0; column < columns; column++, i++) {
        const k = turned ? row : column;
        const g = Math.floor(k / perGroup);
        const at = turned ? (g - from) * columns + column : (row - from) * linear.groups + g;
        const weight = ((values[i] as number) - (zero?.[at] ?? 0)) * (scale[at] as number);
        out[i] = factor ? weight * (factor[k] as number) : weight;
      }
    return new Uint8Array(out.buffer);
  };
  const plain: TensorRecipe = { name: c.name, dtype: "float32", shape: c.shape, sources: c.sources, readRows };
  return turned ? transpose(plain) : plain;
}

/** The values of the 256 codes of E4M3: 4 bits of exponent with bias 7, 3 of mantissa, NaN where all are 1. */
export const E4M3: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  const [exponent, mantissa] = [(code >> 3) & 15, code & 7];
  const size = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
  return (code & 0x7f) === 0x7f ? Number.NaN : code < 128 ? size : -size;
});

/** E4M3 codes under a scale `ratio` times smaller: what q, k and v need to share one. */
export function rescaledE4m3(recipe: TensorRecipe, ratio: number): TensorRecipe {
  if (ratio === 1) return recipe;
  const table = Uint8Array.from(E4M3, value => toE4m3(Math.fround(value * ratio)));
  const readRows = async (start: number, end: number): Promise<Uint8Array> =>
    (await recipe.readRows(start, end)).map(code => table[code] as number);
  return { name: recipe.name, dtype: recipe.dtype, shape: recipe.shape, sources: recipe.sources, readRows };
}

function codeValues(dtype: TensorRecipe["dtype"], bytes: Uint8Array): Float32Array {
  if (dtype === "float8_e4m3fn") return Float32Array.from(bytes, code => E4M3[code] as number);
  return Float32Array.from(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

function codesOf(dtype: Words["dtype"], length: number): Int8Array | Int16Array {
  return dtype === "int8" ? new Int8Array(length) : new Int16Array(length);
}

function wordsOf(bytes: Uint8Array): Int32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Int32Array(buffer, byteOffset, byteLength / 4);
}

export function shortsOf(bytes: Uint8Array): Int16Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 2 === 0 ? bytes : new Uint8Array(bytes);
  return new Int16Array(buffer, byteOffset, byteLength / 2);
}
