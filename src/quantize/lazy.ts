import {
  bf16ToF32,
  type Dtype,
  type FloatDtype,
  f16ToF32,
  f32ToBf16,
  f32ToF16,
  type TensorRecipe,
} from "../tensor/index.ts";

/** A small tensor whose values are known when it is written; a list is read as one row. */
export function lazyFloats(
  name: string,
  shape: readonly number[],
  sources: readonly string[],
  values: () => Promise<Float32Array>,
): TensorRecipe {
  return lazyBytes(
    name,
    "float32",
    shape,
    sources,
    async () => new Uint8Array(Float32Array.from(await values()).buffer),
  );
}

function lazyBytes(
  name: string,
  dtype: Dtype,
  shape: readonly number[],
  sources: readonly string[],
  bytes: () => Promise<Uint8Array>,
): TensorRecipe {
  const rows = shape[0] ?? 1;
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const all = await bytes();
    const stride = all.byteLength / rows;
    return all.subarray(start * stride, end * stride);
  };
  return { name, dtype, shape, sources, readRows };
}

/** Runs `make` when first asked, and never again. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const halves = new Uint16Array(16_384);

/** Rounds in place to what `dtype` can hold. */
export function roundTo(dtype: FloatDtype, values: Float32Array): Float32Array {
  if (dtype === "float32") return values;
  for (let at = 0; at < values.length; at += halves.length) {
    const part = values.subarray(at, at + halves.length);
    const bits = halves.subarray(0, part.length);
    (dtype === "float16" ? f32ToF16 : f32ToBf16)(part, bits);
    (dtype === "float16" ? f16ToF32 : bf16ToF32)(bits, part);
  }
  return values;
}

/** Nearest integer, ties to even, as IEEE 754's rint; |x| below 2^22. */
export function roundHalfEven(x: number): number {
  const whole = Math.floor(x);
  const rest = x - whole;
  if (rest !== 0.5) return rest < 0.5 ? whole : whole + 1;
  return whole % 2 === 0 ? whole : whole + 1;
}

/** Bytes of `dtype` as float32 in the front of `target`: a new array for each band would cost more memory than the tensors. */
export function widen(bytes: Uint8Array, dtype: FloatDtype, target: Float32Array): Float32Array {
  if (dtype === "float32") {
    const values = floatView(bytes);
    target.set(values);
    return target.subarray(0, values.length);
  }
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 2 === 0 ? bytes : new Uint8Array(bytes);
  const bits = new Uint16Array(buffer, byteOffset, byteLength / 2);
  const values = target.subarray(0, bits.length);
  (dtype === "float16" ? f16ToF32 : bf16ToF32)(bits, values);
  return values;
}

/** float32 values of little-endian bytes at any offset. */
export function floatView(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
