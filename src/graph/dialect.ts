/**
 * Which operators a graph may use. One graph runs everywhere as long as the newest forms parse; for older TensorRT the
 * same layers write out what the operator means. Versions: onnx-tensorrt's changelog (Attention 10.14,
 * RotaryEmbedding, RMSNormalization and TensorScatter 10.15).
 */
export interface Dialect {
  /** Standard operator set: 20 has no attention family, 21 has INT4 and scales of blocks, 23 attention, 24 TensorScatter. */
  readonly opset: 20 | 21 | 23 | 24;
  readonly attention: boolean;
  readonly rotaryEmbedding: boolean;
  readonly rmsNormalization: boolean;
  /** Operators of ONNX Runtime's own, with float32 kernels on its CPU: attention over a static cache, a norm of a sum. */
  readonly ortOperators?: boolean;
}

/** Domain of those operators. */
export const ORT_DOMAIN = "com.microsoft";

/** ONNX Runtime, TensorRT-RTX and TensorRT from 10.15. */
export const MODERN: Dialect = { opset: 23, attention: true, rotaryEmbedding: true, rmsNormalization: true };

/** MODERN plus the in-place cache update of a static KV cache. */
export const MODERN_STATIC_CACHE: Dialect = { ...MODERN, opset: 24 };

/** TensorRT 10.0 to 10.13: everything written out. */
export const DECOMPOSED: Dialect = { opset: 20, attention: false, rotaryEmbedding: false, rmsNormalization: false };

/** The same for a graph with quantized weights: INT4, and scales of blocks, came into the standard with operator set 21. */
export function withCodes(dialect: Dialect): Dialect {
  return dialect.opset === 20 ? { ...dialect, opset: 21 } : dialect;
}

/** TensorRT 10.14 knows attention alone. */
export const ATTENTION_ONLY: Dialect = { ...DECOMPOSED, opset: 23, attention: true };

/**
 * Names of the operations that are nodes of domain `mmtrt` with a standard body, which a plugin of that name takes where its
 * library is loaded; all others are standard operators in place.
 */
export type PluginSet = ReadonlySet<string>;
export const NO_PLUGINS: PluginSet = new Set();
