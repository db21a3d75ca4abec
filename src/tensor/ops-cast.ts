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
    fromFloat32(toFloat32(await recipe.readRows(start, end), recipe.dtype), dtype),
  );
}

function toFloat32(bytes: Uint8Array, from: Dtype): Float32Array {
  const { buffer, byteOffset, byteLength } = aligned(bytes, from === "float64" ? 8 : 4);
  if (from === "float32") return new Float32Array(buffer, byteOffset, byteLength / 4);
  if (from === "float64") return Float32Array.from(new Float64Array(buffer, byteOffset, byteLength / 8));
  const out = new Float32Array(byteLength / 2);
  const source = new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (from === "float16") f16ToF32(source, out);
  else bf16ToF32(source, out);
  return out;
}

function fromFloat32(values: Float32Array, to: FloatDtype): Uint8Array {
  if (to === "float32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const out = new Uint16Array(values.length);
  if (to === "float16") f32ToF16(values, out);
  else f32ToBf16(values, out);
  return new Uint8Array(out.buffer);
}

/** Typed arrays need aligned offsets; the readers' bytes may start anywhere in a shared buffer. */
function aligned(bytes: Uint8Array, to: number): Uint8Array {
  return bytes.byteOffset % to === 0 ? bytes : new Uint8Array(bytes);
}
