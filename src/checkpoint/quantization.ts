import type { Problem } from "../diagnostics/index.ts";
import type { ModelWeights } from "../models/architecture.ts";
import type { ModelSpec } from "../models/spec.ts";
import type { ActRanges } from "../quantize/act-ranges.ts";
import { quantizedCache } from "../quantize/kv-cache.ts";
import type { Quantizer } from "../quantize/quantizer.ts";
import { smoothQuant } from "../quantize/smooth-quant.ts";
import { weightOnly } from "../quantize/weight-only.ts";
import type { QuantSpec, TensorType } from "../tensor/index.ts";
import { loadRanges, rangeSources } from "./act-ranges.ts";
import type { Origin } from "./parallel-rules.ts";
import { type QuantizationOptions, quantSpec } from "./quantization-options.ts";
import { quantizationProblems } from "./quantization-rules.ts";

/** What is to be made of the tensors; `problems` says why it cannot be. */
export interface QuantizationPlan {
  readonly quantizer?: Quantizer;
  /** Of the ranges that scales came from. */
  readonly rangesSha256?: string;
  readonly problems: readonly Problem[];
}

/** Options, model and split → what happens to each tensor. Errors: CKP080–CKP086; CKP001–CKP006 for --act_ranges. */
export async function planQuantization(
  options: QuantizationOptions,
  spec: ModelSpec,
  weights: ModelWeights,
  ranks: readonly (readonly TensorType[])[],
  origin: Origin,
  measure: (quant: QuantSpec) => string | Promise<string>,
): Promise<QuantizationPlan> {
  const quant = quantSpec(options);
  const problems = quantizationProblems(options, quant, spec, ranks, origin);
  if (quant === undefined || problems.length > 0) return { problems };
  if (!needsRanges(quant)) return { quantizer: quantizerOf(quant, spec, new Map()), problems };
  const file = options.act_ranges ?? (await measure(quant));
  const { ranges, sha256 } = await loadRanges(file, rangeSources(spec.language, weights));
  return { quantizer: quantizerOf(quant, spec, ranges), rangesSha256: sha256, problems };
}

/** Whether scales come from activations that have to be measured. */
export function needsRanges({ quantAlgo, kvCacheQuantAlgo }: QuantSpec): boolean {
  return quantAlgo?.startsWith("W8A8") === true || kvCacheQuantAlgo === "INT8";
}

function quantizerOf(quant: QuantSpec, spec: ModelSpec, ranges: ActRanges): Quantizer {
  const linear = quant.quantAlgo === null ? undefined : linearQuantizer(quant, spec, ranges);
  if (quant.kvCacheQuantAlgo === null && linear !== undefined) return linear;
  return quantizedCache(quant, linear, ranges);
}

function linearQuantizer(quant: QuantSpec, spec: ModelSpec, ranges: ActRanges): Quantizer {
  if (!quant.quantAlgo?.startsWith("W8A8")) return weightOnly(quant);
  // TensorRT-LLM's GPT-2 smooths what follows a norm alone.
  return smoothQuant(quant, ranges, { smoothsRows: spec.language.architecture !== "GPT2LMHeadModel" });
}
