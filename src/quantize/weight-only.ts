import { cast, type FloatDtype, moduleOf, named, type QuantSpec, transpose } from "../tensor/index.ts";
import { CodedMatrix } from "./codes.ts";
import { asHalves, permuted } from "./layouts.ts";
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
      const float = recipe.dtype as FloatDtype;
      const matrix = new CodedMatrix(recipe, bits, grouped ? spec.groupSize : undefined);
      const { weightLayout, floatWeights } = spec;
      const codes = weightLayout === "plain" ? matrix.turned : permuted(matrix.codes, bits, weightLayout);
      const ordered = grouped && weightLayout !== "plain" ? asHalves(codes, float) : codes;
      return [
        named(recipe.name, floatWeights ? transpose(recipe) : ordered),
        named(`${module}.${grouped ? "weights_scaling_factor" : "per_channel_scale"}`, cast(matrix.scales, float)),
      ];
    },
  };
}
