import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import type { Dtype, FloatDtype } from "../tensor/index.ts";

/** How keys and values lie in the cache between two steps. */
export interface CacheForm {
  /** Element type of the cache's inputs and outputs. */
  readonly dtype: Dtype;
  /** New keys or values as they are kept. */
  store(layer: number, fresh: Value): Value;
  /** Kept keys or values as attention takes them. */
  read(layer: number, kept: Value): Value;
}

/** As they were computed. */
export function plainForm(dtype: FloatDtype): CacheForm {
  return { dtype, store: (_, fresh) => fresh, read: (_, kept) => kept };
}

/** The checkpoint's name of a layer's s. */
export function kvScaleName(layer: number): string {
  return `transformer.layers.${layer}.attention.kv_cache_scaling_factor`;
}

/**
 * Codes of a byte: code = round(x / s), x ≈ code · s, with the layer's `attention.kv_cache_scaling_factor` s, [1], for keys and
 * values. What a step adds passes through its codes too, so that an answer does not depend on how a prompt was cut.
 */
export function formOfCodes(g: GraphBuilder, algo: "INT8" | "FP8", scale: (layer: number) => Value): CacheForm {
  const dtype = algo === "INT8" ? "int8" : "float8_e4m3fn";
  return {
    dtype,
    store: (layer, fresh) => g.quantize(fresh, scale(layer), dtype),
    read: (layer, kept) => g.dequantize(kept, scale(layer)),
  };
}
