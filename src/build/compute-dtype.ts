import type { Backend } from "../formats/engine-config.ts";
import { byteLength, type FloatDtype, isFloatDtype, type StoredTensor } from "../tensor/index.ts";

/** dtype the graphs compute in, of a checkpoint in `stored`: ONNX Runtime's CPU kernels lack bfloat16, so it is widened there. */
export function computeDtypeOf(
  { backend, compute_dtype }: { readonly backend: Backend; readonly compute_dtype: FloatDtype | "auto" },
  stored: FloatDtype,
): FloatDtype {
  const dtype = compute_dtype === "auto" ? stored : compute_dtype;
  return backend === "onnxruntime" && dtype === "bfloat16" ? "float32" : dtype;
}

/** Bytes of the tensors a graph uses, as `dtype` in memory. */
export function loadedBytes(tensors: Iterable<StoredTensor>, dtype: FloatDtype): number {
  let total = 0;
  for (const tensor of tensors) total += byteLength(isFloatDtype(tensor.dtype) ? dtype : tensor.dtype, tensor.shape);
  return total;
}
