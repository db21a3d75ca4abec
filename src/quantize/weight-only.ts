import {
  type FloatDtype,
  moduleOf,
  named,
  type QuantSpec,
  reshape,
  sliceRows,
  type TensorRecipe,
  transpose,
} from "../tensor/index.ts";
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
  const wholes = new WeakMap<TensorRecipe["readRows"], Coded>();
  const coded = (recipe: TensorRecipe): Coded => {
    if (!recipe.columns) return codedOf(recipe, bits, grouped ? spec.groupSize : undefined);
    const { of, start, end } = recipe.columns;
    const group = grouped ? spec.groupSize : end - start;
    const whole = wholes.get(of.readRows) ?? codedOf(of, bits, group);
    wholes.set(of.readRows, whole);
    const share = rankOf(whole, start, end, group);
    return grouped ? share : { ...share, scales: { ...reshape(share.scales, [recipe.shape[0] ?? 0]), late: true } };
  };
  return {
    spec,
    store(recipe) {
      const module = moduleOf(recipe.name);
      if (module === undefined || spec.excludeModules.some(name => module.endsWith(name))) return [recipe];
      const { codes, scales } = makesPanels(spec) ? coded(recipe) : rearranged(recipe, bits, spec);
      return [
        named(recipe.name, codes),
        named(`${module}.${grouped ? "weights_scaling_factor" : "per_channel_scale"}`, scales),
      ];
    },
  };
}

/** Whether codes and scales of a matrix come out of one pass over it; the other forms pass over it twice. */
export function makesPanels({ weightLayout, floatWeights }: QuantSpec): boolean {
  return weightLayout === "plain" && !floatWeights;
}

interface Coded {
  readonly codes: TensorRecipe;
  readonly scales: TensorRecipe;
}

function codedOf(weight: TensorRecipe, bits: 8 | 4, group?: number): Coded {
  const matrix = new CodedMatrix(weight, bits, group);
  return { codes: matrix.turned, scales: matrix.scales };
}

/**
 * Inputs [start, end) of a matrix that is quantized once for all ranks: a scale for each rank's inputs is one for a group
 * of them. A rank's columns alone would take a pass over the rows of all ranks.
 */
function rankOf({ codes, scales }: Coded, start: number, end: number, group: number): Coded {
  const { release } = codes;
  return {
    codes: { ...sliceRows(codes, start, end), ...(release && { release }) },
    scales: { ...sliceRows(scales, start / group, end / group), late: true },
  };
}

function rearranged(recipe: TensorRecipe, bits: 8 | 4, spec: QuantSpec): Coded {
  const { weightLayout, floatWeights, groupSize, quantAlgo } = spec;
  const grouped = quantAlgo === "W4A16_GPTQ";
  const matrix = new CodedMatrix(recipe, bits, grouped ? groupSize : undefined);
  if (floatWeights || weightLayout === "plain") return { codes: transpose(recipe), scales: matrix.scales };
  const codes = permuted(matrix.codes, bits, weightLayout);
  return { codes: grouped ? asHalves(codes, recipe.dtype as FloatDtype) : codes, scales: matrix.scales };
}
