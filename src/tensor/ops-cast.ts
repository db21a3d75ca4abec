import type { Dtype, FloatDtype } from "./dtype.ts";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "./half.ts";
import { make } from "./ops.ts";
import type { TensorRecipe } from "./recipe.ts";

/** Dtypes that `cast` reads. */
export const CASTABLE: readonly Dtype[] = ["float32", "float16", "bfloat16", "float64"];

/**
 * Rounds to nearest, ties to even. float64 goes through float32, as PyTorch's `.to(float16)` does, so double rounding
 * is part of the result.
 */
export function cast(recipe: TensorRecipe, dtype: FloatDtype): TensorRecipe {
  if (recipe.dtype === dtype) return recipe;
  if (!CASTABLE.includes(recipe.dtype))
    throw new Error(`recipe: impossible cast of ${recipe.name} from ${recipe.dtype}`);
  return make(recipe.name, dtype, recipe.shape, recipe.sources, undefined, async (start, end) =>
    convert(await recipe.readRows(start, end), recipe.dtype, dtype),
  );
}

/** Each value and `constant`, in float32. */
export function plus(recipe: TensorRecipe, constant: number): TensorRecipe {
  const wide = cast(recipe, "float32");
  return make(wide.name, "float32", wide.shape, wide.sources, undefined, async (start, end) => {
    const bytes = aligned(await wide.readRows(start, end), 4);
    const { buffer, byteOffset, byteLength } = bytes;
    const sums = new Float32Array(buffer, byteOffset, byteLength / 4).map(value => value + constant);
    return new Uint8Array(sums.buffer);
  });
}

const BYTES: Readonly<Partial<Record<Dtype, number>>> = { float64: 8, float32: 4, float16: 2, bfloat16: 2 };

/** Values on their way through float32: 128 KB stay in the CPU's cache, and a band needs no float32 copy of itself. */
const scratch = new Float32Array(32_768);

function convert(bytes: Uint8Array, from: Dtype, to: FloatDtype): Uint8Array {
  const [size, outSize] = [BYTES[from] as number, BYTES[to] as number];
  const source = aligned(bytes, size);
  const count = source.byteLength / size;
  const out = new Uint8Array(Buffer.allocUnsafeSlow(count * outSize).buffer);
  for (let at = 0; at < count; at += scratch.length) {
    const values = scratch.subarray(0, Math.min(scratch.length, count - at));
    decode(source, at, from, values);
    encode(values, to, out, at);
  }
  return out;
}

function decode(bytes: Uint8Array, at: number, from: Dtype, values: Float32Array): void {
  const { buffer, byteOffset } = bytes;
  const { length } = values;
  if (from === "float64") values.set(new Float64Array(buffer, byteOffset + at * 8, length));
  else if (from === "float32") values.set(new Float32Array(buffer, byteOffset + at * 4, length));
  else if (from === "float16") f16ToF32(new Uint16Array(buffer, byteOffset + at * 2, length), values);
  else bf16ToF32(new Uint16Array(buffer, byteOffset + at * 2, length), values);
}

function encode(values: Float32Array, to: FloatDtype, out: Uint8Array, at: number): void {
  if (to === "float32") new Float32Array(out.buffer, at * 4, values.length).set(values);
  else if (to === "float16") f32ToF16(values, new Uint16Array(out.buffer, at * 2, values.length));
  else f32ToBf16(values, new Uint16Array(out.buffer, at * 2, values.length));
}

/** Typed arrays need aligned offsets; the readers' bytes may start anywhere in a shared buffer. */
function aligned(bytes: Uint8Array, to: number): Uint8Array {
  return bytes.byteOffset % to === 0 ? bytes : new Uint8Array(bytes);
}
