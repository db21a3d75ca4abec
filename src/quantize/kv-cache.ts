import { moduleOf, type QuantSpec, type TensorRecipe } from "../tensor/index.ts";
import type { ActRanges } from "./act-ranges.ts";
import { lazyFloats } from "./lazy.ts";
import type { Quantizer } from "./quantizer.ts";

/**
 * Adds `attention.kv_cache_scaling_factor`, one scale for keys and values of a layer, to what another format stores.
 * INT8: the largest |q|, |k| or |v| / 127, as TensorRT-LLM has it. FP8: 1, which TensorRT-LLM sets whatever the file says;
 * keys and values lie far inside E4M3's ±448.
 */
export function quantizedCache(spec: QuantSpec, inner: Quantizer | undefined, ranges: ActRanges): Quantizer {
  return {
    spec,
    ...(inner?.prepare && { prepare: inner.prepare }),
    ...(inner?.packed && { packed: inner.packed }),
    store(recipe, place, share) {
      const stored = inner?.store(recipe, place, share) ?? [recipe];
      const module = moduleOf(recipe.name);
      if (!module?.endsWith(".qkv")) return stored;
      return [...stored, cacheScale(module, spec, place.layer, ranges, recipe.sources)];
    },
  };
}

function cacheScale(
  module: string,
  { kvCacheQuantAlgo }: QuantSpec,
  layer: number,
  ranges: ActRanges,
  sources: readonly string[],
): TensorRecipe {
  const name = module.replace(/qkv$/, "kv_cache_scaling_factor");
  return lazyFloats(name, [1], sources, async () => {
    if (kvCacheQuantAlgo === "FP8") return Float32Array.of(1);
    const range = ranges.get(`transformer.layers.${layer}.attention.qkv`);
    if (range === undefined) throw new Error(`no ranges of layer ${layer}`);
    return Float32Array.of(range.y.reduce((a, b) => Math.max(a, b), 1e-8) / 127);
  });
}
