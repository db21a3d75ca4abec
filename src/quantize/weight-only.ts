import { cast, isFloatDtype, moduleOf, named, type QuantSpec, type TensorRecipe, transpose } from "../tensor/index.ts";
import { CodedMatrix, packNibbles } from "./codes.ts";
import { permuted } from "./layouts.ts";
import type { Quantizer } from "./quantizer.ts";

/**
 * Weight-only INT8 and INT4 as TensorRT-LLM's converters make it: every rank quantizes its own share, so a split row
 * layer has other scales on each rank. INT4 in groups is the same arithmetic with a scale for every `groupSize` inputs.
 */
export function weightOnly(spec: QuantSpec): Quantizer {
  const bits = spec.quantAlgo === "W8A16" ? 8 : 4;
  const grouped = spec.quantAlgo === "W4A16_GPTQ";
  return {
    spec,
    store(recipe) {
      const module = moduleOf(recipe.name);
      if (module === undefined || spec.excludeModules.some(name => module.endsWith(name))) return [recipe];
      if (!isFloatDtype(recipe.dtype)) throw new Error(`${recipe.name} is ${recipe.dtype} before it is quantized`);
      const matrix = new CodedMatrix(recipe, bits, grouped ? spec.groupSize : undefined);
      const scales = cast(matrix.scales, recipe.dtype);
      const weight = spec.floatWeights ? transpose(recipe) : storedCodes(matrix.codes, bits, spec);
      return [
        named(recipe.name, weight),
        named(`${module}.${grouped ? "weights_scaling_factor" : "per_channel_scale"}`, scales),
      ];
    },
  };
}

/** Codes [n, k] in the byte order of the checkpoint. */
function storedCodes(codes: TensorRecipe, bits: 8 | 4, { weightLayout }: QuantSpec): TensorRecipe {
  if (weightLayout !== "plain") return permuted(codes, bits, weightLayout);
  const rows = transpose(codes);
  return bits === 8 ? rows : packNibbles(rows);
}
