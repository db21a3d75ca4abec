import { type FeatureRange, featureRange, visualTokensOf } from "../models/parts/visual-tokens.ts";
import { DTYPES } from "../tensor/index.ts";
import {
  fittingSizes,
  showSize,
  type TokenBudget,
  tokenBounds,
  USUAL_SHAPES,
  type VisualTokenRule,
} from "../vision/index.ts";
import { USUAL_TEXT_TOKENS } from "./lengths.ts";
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

/** What an image may bring to be taken in a full batch of one image each, the usual text beside it. */
export function imageBudget(build: {
  readonly max_multimodal_len: number;
  readonly max_batch_size: number;
  readonly max_input_len: number;
}): TokenBudget {
  const features = Math.floor(build.max_multimodal_len / build.max_batch_size);
  return { features, tokens: build.max_input_len - USUAL_TEXT_TOKENS };
}

/** Advice, for models whose images differ: the largest are refused at run time, and which those are is not plain to see. */
export const everyImageFits: Rule = ({ spec, build, origin }) => {
  const rule = visualTokensOf(spec);
  const range = featureRange(spec);
  const { features, tokens } = imageBudget(build);
  if (rule === undefined || !varies(range) || spec.encoderDecoder !== undefined) return undefined;
  const isShort = tokens < range.mostTokens;
  if (!isShort && features >= range.most) return undefined;
  const length = Math.max(build.max_input_len, range.mostTokens + USUAL_TEXT_TOKENS);
  const rows = Math.max(build.max_multimodal_len, build.max_batch_size * range.most);
  const needed = [
    ...(isShort ? [`--max_input_len ${length}`] : []),
    ...(features < range.most ? [`--max_multimodal_len ${rows}`] : []),
  ];
  return {
    code: "BLD090",
    what: `images of up to ${range.mostTokens} tokens are made; a full batch of ${build.max_batch_size} takes ${Math.max(0, Math.min(features, tokens))} of each`,
    at: origin(isShort ? "max_input_len" : "max_multimodal_len"),
    why: `larger images are refused at run time. A full batch takes ${fittingText(rule, { features, tokens })}`,
    fix: `${needed.join(" and ")} for every image, or leave it so; mmtrt plan --images 1280x720 tells what an image takes`,
  };
};

/** `4:3 up to 1024x768, 1:1 none`: shapes that any size fits of are left out where they are not all. */
export function fittingText(rule: VisualTokenRule, budget: TokenBudget): string {
  return USUAL_SHAPES.map(({ name, ratio }) => {
    const fits = fittingSizes(rule, ratio, budget);
    if (fits.kind === "up_to") return `${name} up to ${showSize(fits.size)}`;
    return `${name} ${fits.kind === "all" ? "of any size" : "none"}`;
  }).join(", ");
}

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

/** Of packed patches: those of an image are encoded together. An error where no image fits; larger ones are `visualBatchHoldsPrompt`. */
export const visualBatchHoldsImage: Rule = ({ spec, build: { max_visual_batch }, origin }) => {
  const rule = visualTokensOf(spec);
  if (rule?.kind !== "patches") return undefined;
  const { patches } = tokenBounds(rule).least;
  if (max_visual_batch >= patches) return undefined;
  return {
    code: "BLD092",
    what: `max_visual_batch ${max_visual_batch} is less than the ${patches} patches of the smallest image`,
    at: origin("max_visual_batch"),
    why: "the patches of an image see each other, so they are encoded in one call",
    fix: "--max_visual_batch auto, which holds every image that a prompt has room for",
  };
};

/** Advice: images that a prompt would hold are refused at run time. */
export const visualBatchHoldsPrompt: Rule = ({ spec, build, origin }) => {
  const rule = visualTokensOf(spec);
  if (rule?.kind !== "patches") return undefined;
  const { least, most } = tokenBounds(rule);
  const unit = rule.merge ** 2;
  const held = unit * Math.min(most.features, build.max_multimodal_len, build.max_input_len);
  if (build.max_visual_batch >= held || build.max_visual_batch < least.patches) return undefined;
  const features = Math.floor(build.max_visual_batch / unit);
  return {
    code: "BLD092",
    what: `max_visual_batch ${build.max_visual_batch} is less than the ${held} patches of the largest image that a prompt holds`,
    at: origin("max_visual_batch"),
    why: `the patches of an image are encoded in one call, and larger images are refused at run time. One call takes ${fittingText(rule, { features, tokens: features })}`,
    fix: `--max_visual_batch ${held} (or auto) for every image, or leave it so`,
  };
};
