import type { Backend } from "../formats/engine-config.ts";
import { byteLength, type FloatDtype, isFloatDtype, type StoredTensor } from "../tensor/index.ts";

/** dtype the graphs compute in: ONNX Runtime's CPU kernels lack bfloat16, so it is widened there. */
export function computeDtypeOf(backend: Backend, dtype: FloatDtype): FloatDtype {
  return backend === "onnxruntime" && dtype === "bfloat16" ? "float32" : dtype;
}

/** Bytes of the tensors a graph uses, as `dtype` in memory. */
export function loadedBytes(tensors: Iterable<StoredTensor>, dtype: FloatDtype): number {
  let total = 0;
  for (const tensor of tensors) total += byteLength(isFloatDtype(tensor.dtype) ? dtype : tensor.dtype, tensor.shape);
  return total;
}
