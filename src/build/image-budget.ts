import { imageBudget } from "../rules/multimodal.ts";
import {
  type Fitting,
  fittingSizes,
  type ImageSize,
  type ImageTokens,
  showSize,
  type TokenBudget,
  tokenBounds,
  tokensBeside,
  tokensOf,
  USUAL_SHAPES,
  unitsOf,
  type VisualTokenRule,
  visualUnit,
} from "../vision/index.ts";

/** Limits of a build or an engine, by the names of its options. */
export interface ImageLimits {
  readonly max_batch_size: number;
  readonly max_input_len: number;
  readonly max_multimodal_len: number;
  /** In the visual engine's unit. */
  readonly max_visual_batch: number;
}

export interface BudgetedImage extends ImageTokens {
  /** Width × height as it was asked for. */
  readonly image: string;
  /** Prompts with one such image each that the engines take at once; 0: none. */
  readonly batch: number;
  /** Calls of the visual engine. */
  readonly visual_calls: number;
}

/** What images of some sizes take, and what fits; all of it follows from sizes alone. */
export interface ImageBudget {
  readonly unit: "images" | "tiles" | "patches";
  readonly limits: ImageLimits;
  readonly images: readonly BudgetedImage[];
  /** What each of several images in one prompt brings, where that is not what it brings alone. */
  readonly beside?: ImageTokens;
  /** max_multimodal_len for these images in one batch, for a full batch of the largest of them, and for any images. */
  readonly rows: { readonly together: number; readonly full_batch: number; readonly any: number };
  /** max_input_len for these images in prompts of their own, without text. */
  readonly longest: number;
  /** Sizes that a full batch takes, by shape. */
  readonly fitting: readonly ({ readonly shape: string } & Fitting)[];
}

export function budgetOf(rule: VisualTokenRule, sizes: readonly ImageSize[], limits: ImageLimits): ImageBudget {
  const images = sizes.map(size => budgeted(rule, size, limits));
  const features = images.map(image => image.features);
  const { most } = tokenBounds(rule);
  const budget = callBudget(rule, limits);
  const beside = tokensBeside(rule);
  return {
    unit: visualUnit(rule),
    limits,
    images,
    ...(beside && { beside }),
    rows: {
      together: features.reduce((sum, count) => sum + count, 0),
      full_batch: limits.max_batch_size * Math.max(...features),
      any: limits.max_batch_size * most.features,
    },
    longest: Math.max(...images.map(({ tokens }) => tokens)),
    fitting: USUAL_SHAPES.map(({ name, ratio }) => ({ shape: name, ...fittingSizes(rule, ratio, budget) })),
  };
}

/** Patches of one image go through the visual engine in one call. */
function callBudget(rule: VisualTokenRule, limits: ImageLimits): TokenBudget {
  const { features, tokens } = imageBudget(limits);
  const most = rule.kind === "patches" ? Math.floor(limits.max_visual_batch / rule.merge ** 2) : features;
  return { features: Math.min(features, most), tokens };
}

function budgeted(rule: VisualTokenRule, size: ImageSize, limits: ImageLimits): BudgetedImage {
  const tokens = tokensOf(rule, size);
  const byRows = Math.floor(limits.max_multimodal_len / tokens.features);
  const isLong = tokens.tokens >= limits.max_input_len;
  const isLarge = rule.kind === "patches" && tokens.patches > limits.max_visual_batch;
  return {
    image: showSize(size),
    ...tokens,
    batch: isLong || isLarge ? 0 : Math.min(limits.max_batch_size, byRows),
    visual_calls: Math.ceil(unitsOf(rule, tokens) / limits.max_visual_batch),
  };
}
