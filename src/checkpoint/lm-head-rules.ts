import type { Problem } from "../diagnostics/index.ts";
import type { Origin } from "./parallel-rules.ts";
import { type QuantizationOptions, quantSpec } from "./quantization-options.ts";
import type { Parallel } from "./shard.ts";

/** What `quantize_lm_head` cannot be combined with. `packed`: the source has its codes already. */
export function lmHeadProblems(
  options: QuantizationOptions,
  { shareEmbedding }: Parallel,
  packed: boolean,
  origin: Origin,
): Problem[] {
  if (!options.quantize_lm_head) return [];
  const algo = quantSpec(options)?.quantAlgo ?? null;
  const problem = (code: Problem["code"], what: string, why: string, fix: string): Problem[] => [
    { code, what, at: origin("quantize_lm_head"), why, fix },
  ];
  if (packed)
    return problem(
      "CKP081",
      "quantize_lm_head is set for a checkpoint that is quantized already",
      "its codes are taken over as they are, and its lm_head was kept in float on purpose",
      "leave out --quantize_lm_head, or convert the float checkpoint",
    );
  if (algo !== "W8A16" && algo !== "W4A16" && algo !== "W4A16_GPTQ")
    return problem(
      "CKP081",
      `quantize_lm_head is set with ${algo ?? "no weight-only format"}`,
      "lm_head's inputs are not measured, which formats other than weight-only INT8 and INT4 need",
      "--use_weight_only --quantize_lm_head",
    );
  if (shareEmbedding)
    return problem(
      "CKP081",
      "quantize_lm_head and use_embedding_sharing are both set",
      "the shared table is the embedding's as well, which is looked up and stays in float",
      "leave out one of them",
    );
  return [];
}
