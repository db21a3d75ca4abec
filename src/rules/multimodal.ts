import { DTYPES } from "../tensor/index.ts";
import type { Rule, RuleContext } from "./rule.ts";
import { showBytes } from "./rule.ts";

/** Rows of the prompt table that a full batch of one image each fills; 0 for a model that takes no images. */
export function promptRowsOfBatch(spec: RuleContext["spec"], maxBatchSize: number): number {
  return maxBatchSize * (spec.vision?.numVisualFeatures ?? 0);
}

export const promptTableHoldsBatch: Rule = ({ spec, build: { max_multimodal_len, max_batch_size }, origin }) => {
  const features = spec.vision?.numVisualFeatures ?? 0;
  const rows = promptRowsOfBatch(spec, max_batch_size);
  if (max_multimodal_len >= rows) return undefined;
  const batch = Math.floor(max_multimodal_len / features);
  return {
    code: "BLD014",
    what: `max_multimodal_len ${max_multimodal_len} is too small for max_batch_size ${max_batch_size}`,
    at: origin("max_multimodal_len"),
    why: `every image of the batch puts ${features} visual features into the prompt table: ${max_batch_size} × ${features} = ${rows} rows`,
    fix: `--max_multimodal_len ${rows}${batch > 0 ? `, or --max_batch_size ${batch}` : ""}`,
  };
};

/**
 * Advice. Whole images beyond one a prompt may be wanted (several images in a prompt), so this is no error; of VILA, which
 * is trained with several, nothing is said.
 */
export const promptTableIsUsed: Rule = ({
  spec,
  checkpoint,
  build: { max_multimodal_len, max_batch_size },
  origin,
}) => {
  const rows = promptRowsOfBatch(spec, max_batch_size);
  const wasted = max_multimodal_len - rows;
  const several = spec.modelType === "vila" && max_multimodal_len % rows === 0;
  if (rows === 0 || wasted <= 0 || several) return undefined;
  const bytes = wasted * spec.language.hiddenSize * (DTYPES[checkpoint.dtype].bits / 8);
  return {
    code: "BLD015",
    what: `max_multimodal_len ${max_multimodal_len} is larger than max_batch_size ${max_batch_size} can use`,
    at: origin("max_multimodal_len"),
    why: `a batch with one image each fills ${rows} rows; the other ${wasted} reserve ${showBytes(bytes)} and serve only prompts with several images`,
    fix: `--max_multimodal_len ${rows} (or auto)`,
  };
};
