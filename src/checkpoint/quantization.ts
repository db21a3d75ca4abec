import type { Problem } from "../diagnostics/index.ts";
import type { ModelSpec } from "../models/spec.ts";
import type { Quantizer } from "../quantize/quantizer.ts";
import { weightOnly } from "../quantize/weight-only.ts";
import type { TensorType } from "../tensor/index.ts";
import type { Origin } from "./parallel-rules.ts";
import { type QuantizationOptions, quantSpec } from "./quantization-options.ts";
import { quantizationProblems } from "./quantization-rules.ts";

/** What is to be made of the tensors; `problems` says why it cannot be. */
export interface QuantizationPlan {
  readonly quantizer?: Quantizer;
  readonly problems: readonly Problem[];
}

/** Options, model and split → what happens to each tensor. Errors: CKP080–CKP084. */
export function planQuantization(
  options: QuantizationOptions,
  spec: ModelSpec,
  ranks: readonly (readonly TensorType[])[],
  origin: Origin,
): QuantizationPlan {
  const quant = quantSpec(options);
  const problems = quantizationProblems(options, quant, spec, ranks, origin);
  if (quant === undefined || problems.length > 0) return { problems };
  return { quantizer: weightOnly(quant), problems };
}
