import { type FeatureRange, featureRange } from "../models/parts/visual-tokens.ts";
import { DTYPES } from "../tensor/index.ts";
import type { Rule, RuleContext } from "./rule.ts";
import { showBytes } from "./rule.ts";

/**
 * Rows of the prompt table that a full batch of one image each fills, with the largest image where they differ, as far as a
 * prompt of `maxInputLen` tokens holds it; 0 for a model that takes no images.
 */
export function promptRowsOfBatch(spec: RuleContext["spec"], maxBatchSize: number, maxInputLen: number): number {
  const range = featureRange(spec);
  return maxBatchSize * (varies(range) ? Math.min(range.most, maxInputLen) : range.most);
}

/** Images of one model bring different numbers of features. */
function varies({ least, most }: FeatureRange): boolean {
  return least !== most;
}

/** An error where not even the smallest images of a batch fit; larger ones are `everyImageFits`. */
export const promptTableHoldsBatch: Rule = ({ spec, build: { max_multimodal_len, max_batch_size }, origin }) => {
  const range = featureRange(spec);
  const { least: features } = range;
  const rows = max_batch_size * features;
  if (max_multimodal_len >= rows) return undefined;
  const batch = Math.floor(max_multimodal_len / features);
  return {
    code: "BLD014",
    what: `max_multimodal_len ${max_multimodal_len} is too small for max_batch_size ${max_batch_size}`,
    at: origin("max_multimodal_len"),
    why: `every image of the batch puts ${varies(range) ? "at least " : ""}${features} visual features into the prompt table: ${max_batch_size} × ${features} = ${rows} rows`,
    fix: `--max_multimodal_len ${rows}${batch > 0 ? `, or --max_batch_size ${batch}` : ""}`,
  };
};

/**
 * Advice. Whole images beyond one a prompt may be wanted (several images in a prompt), so this is no error; of VILA, which
 * is trained with several, nothing is said, and of models whose images differ only what no prompt could hold.
 */
export const promptTableIsUsed: Rule = ({
  spec,
  checkpoint,
  build: { max_multimodal_len, max_batch_size, max_input_len },
  origin,
}) => {
  const range = featureRange(spec);
  const rows = varies(range) ? max_batch_size * max_input_len : promptRowsOfBatch(spec, max_batch_size, max_input_len);
  const wasted = max_multimodal_len - rows;
  const several = spec.modelType === "vila" && max_multimodal_len % rows === 0;
  if (range.most === 0 || wasted <= 0 || several) return undefined;
  const bytes = wasted * spec.language.hiddenSize * (DTYPES[checkpoint.dtype].bits / 8);
  const [filled, use] = varies(range)
    ? ["a batch whose prompts are images alone", "no prompt"]
    : ["a batch with one image each", "only prompts with several images"];
  return {
    code: "BLD015",
    what: `max_multimodal_len ${max_multimodal_len} is larger than max_batch_size ${max_batch_size} can use`,
    at: origin("max_multimodal_len"),
    why: `${filled} fills ${rows} rows; the other ${wasted} reserve ${showBytes(bytes)} and serve ${use}`,
    fix: `--max_multimodal_len ${rows} (or auto)`,
  };
};
