import type { Problem } from "../diagnostics/index.ts";
import type { ModelWeights } from "../models/architecture.ts";
import type { ModelSpec } from "../models/spec.ts";
import type { ActRanges } from "../quantize/act-ranges.ts";
import { awq } from "../quantize/awq.ts";
import { fp8 } from "../quantize/fp8.ts";
import { readOnce } from "../quantize/kept.ts";
import { quantizedCache } from "../quantize/kv-cache.ts";
import { packedQuantizer } from "../quantize/packed.ts";
import type { Quantizer } from "../quantize/quantizer.ts";
import { smoothQuant } from "../quantize/smooth-quant.ts";
import { makesPanels, weightOnly } from "../quantize/weight-only.ts";
import { type QuantSpec, type TensorType, UNQUANTIZED } from "../tensor/index.ts";
import { loadRanges, rangeSources } from "./act-ranges.ts";
import type { PackedSource } from "./packed.ts";
import { sourceForm } from "./packed-rules.ts";
import type { Origin } from "./parallel-rules.ts";
import { type QuantizationOptions, quantSpec } from "./quantization-options.ts";
import { conflictProblems, quantizationProblems } from "./quantization-rules.ts";

/** What is to be made of the tensors; `problems` says why it cannot be. */
export interface QuantizationPlan {
  readonly quantizer?: Quantizer;
  /** Of the ranges that scales came from. */
  readonly rangesSha256?: string;
  /** What is worth saying about a quantized source. */
  readonly notes: readonly Problem[];
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
  packed?: PackedSource,
): Promise<QuantizationPlan> {
  const asked = quantSpec(options);
  const source = packed && sourceForm(options, asked, packed, ranks, origin);
  const notes = source?.notes ?? [];
  const quant = source?.spec ?? asked;
  const problems = [
    ...(source?.problems ?? []),
    ...(source?.keeps ? conflictProblems(options, origin) : quantizationProblems(options, quant, spec, ranks, origin)),
  ];
  if (quant === undefined || problems.length > 0) return { notes, problems };
  const linear = source?.keeps && packed ? packedQuantizer(quant, packed) : undefined;
  // Of a source whose codes are kept, the cache alone can have scales that are not there.
  const measured = linear ? { ...UNQUANTIZED, kvCacheQuantAlgo: asked?.kvCacheQuantAlgo ?? null } : quant;
  if (!needsRanges(measured)) return { quantizer: quantizerOf(quant, spec, new Map(), linear), notes, problems };
  const file = options.act_ranges ?? (await measure(measured));
  const { ranges, sha256 } = await loadRanges(
    file,
    rangeSources(spec.language, weights),
    measured.quantAlgo === "W4A16_AWQ",
  );
  return { quantizer: quantizerOf(quant, spec, ranges, linear), rangesSha256: sha256, notes, problems };
}

/** Whether scales come from activations that have to be measured. */
function needsRanges({ quantAlgo, kvCacheQuantAlgo }: QuantSpec): boolean {
  return (
    quantAlgo?.startsWith("W8A8") === true ||
    quantAlgo === "FP8" ||
    quantAlgo === "W4A16_AWQ" ||
    kvCacheQuantAlgo === "INT8"
  );
}

function quantizerOf(quant: QuantSpec, spec: ModelSpec, ranges: ActRanges, packed?: Quantizer): Quantizer {
  const linear = packed ?? (quant.quantAlgo === null ? undefined : linearQuantizer(quant, spec, ranges));
  if (linear !== undefined && (quant.kvCacheQuantAlgo === null || linear.storesCacheScales)) return linear;
  return quantizedCache(quant, linear, ranges);
}

function linearQuantizer(quant: QuantSpec, spec: ModelSpec, ranges: ActRanges): Quantizer {
  if (quant.quantAlgo === "FP8") return readOnce(fp8(quant, ranges));
  if (quant.quantAlgo === "W4A16_AWQ") return awq(quant, ranges);
  if (!quant.quantAlgo?.startsWith("W8A8")) return makesPanels(quant) ? weightOnly(quant) : readOnce(weightOnly(quant));
  // TensorRT-LLM's GPT-2 smooths what follows a norm alone.
  const { architecture, outputNorms } = spec.language;
  const smoothsRows = architecture !== "GPT2LMHeadModel";
  return readOnce(
    smoothQuant(quant, ranges, { smoothsRows, ...(outputNorms && { mlpNorm: "pre_feedforward_layernorm" }) }),
  );
}
