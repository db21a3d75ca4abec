import {
  byteLength,
  type Dtype,
  elementCount,
  type HfCheckpoint,
  rowBytes,
  type Shape,
  type StoredTensor,
} from "../../../src/tensor/index.ts";

/** A float32 tensor in memory, without a file range. */
export function inMemory(name: string, shape: Shape, value: (index: number) => number = i => i): StoredTensor {
  const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => value(i));
  return bytesInMemory(name, "float32", shape, new Uint8Array(values.buffer));
}

export function bytesInMemory(
  name: string,
  dtype: Dtype,
  shape: Shape,
  bytes = new Uint8Array(byteLength(dtype, shape)),
): StoredTensor {
  const size = rowBytes(dtype, shape);
  return {
    name,
    dtype,
    shape,
    at: "memory.safetensors, byte 0",
    readRows: async (start, end) => bytes.subarray(start * size, end * size),
  };
}

export async function floatsOf(tensor: Pick<StoredTensor, "shape" | "readRows">): Promise<number[]> {
  const bytes = new Uint8Array(await tensor.readRows(0, tensor.shape[0] ?? 1));
  return [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)];
}

export function checkpointOf(config: HfCheckpoint["config"], tensors: readonly StoredTensor[]): HfCheckpoint {
  return {
    dir: "memory",
    format: "safetensors",
    config,
    tensors: new Map(tensors.map(tensor => [tensor.name, tensor])),
    extraFiles: [],
    generatedFiles: new Map(),
    warnings: [],
    weightFiles: [],
    changed: () => Promise.resolve([]),
    close: async () => undefined,
  };
}
