import type { Dtype, Shape, TensorRecipe } from "../../src/tensor/index.ts";
import { byteLength, rowBytes } from "../../src/tensor/index.ts";

/** A tensor whose bytes are in memory, as the recipe that writers and emitters take. */
export function inMemory(name: string, dtype: Dtype, shape: Shape, bytes: Uint8Array): TensorRecipe {
  if (bytes.byteLength !== byteLength(dtype, shape))
    throw new Error(`${name}: ${bytes.byteLength} bytes are not ${dtype} [${shape}]`);
  const row = rowBytes(dtype, shape);
  return {
    name,
    dtype,
    shape,
    sources: [name],
    readRows: async (start, end) => bytes.subarray(start * row, end * row),
  };
}

export function floats(name: string, shape: Shape, values: readonly number[]): TensorRecipe {
  return inMemory(name, "float32", shape, new Uint8Array(Float32Array.from(values).buffer));
}
