import { FilePool } from "../../src/formats/file.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { Shape } from "../../src/tensor/index.ts";

/** A tensor of a reference file; integers are widened to numbers too. */
export interface ReferenceTensor {
  readonly shape: Shape;
  readonly values: Float32Array | Int32Array;
}

/** Every tensor of a small float32/int32 safetensors file. */
export async function readReference(file: string): Promise<ReadonlyMap<string, ReferenceTensor>> {
  const pool = new FilePool();
  try {
    const { tensors } = await openSafetensors(pool, file);
    const entries = [...tensors.values()].map(async tensor => {
      const bytes = Uint8Array.from(await tensor.readRows(0, tensor.shape[0] ?? 1));
      const values = tensor.dtype === "int32" ? new Int32Array(bytes.buffer) : new Float32Array(bytes.buffer);
      return [tensor.name, { shape: tensor.shape, values }] as const;
    });
    return new Map(await Promise.all(entries));
  } finally {
    await pool.close();
  }
}

/** Row `i` of a two-dimensional tensor. */
export function row(tensor: ReferenceTensor, i: number): Float32Array | Int32Array {
  const width = tensor.values.length / (tensor.shape[0] ?? 1);
  return tensor.values.subarray(i * width, (i + 1) * width);
}
