import { tokenBounds, type VisualTokenRule } from "../../vision/index.ts";
import type { ModelSpec } from "../spec.ts";
import { patchesPerSide } from "./vit.ts";

/** What an image brings to the prompt; undefined where none goes there (text alone, and Nougat, whose decoder attends to it). */
export function visualTokensOf({ vision, visualTokens }: ModelSpec): VisualTokenRule | undefined {
  if (visualTokens !== undefined || vision === undefined) return visualTokens;
  return { kind: "fixed", features: vision.numVisualFeatures, patches: patchesPerSide(vision) ** 2 };
}

/** Least and most visual features of an image, and tokens of the prompt with the markers about them; 0 without images. */
export interface FeatureRange {
  readonly least: number;
  readonly most: number;
  readonly leastTokens: number;
  readonly mostTokens: number;
}

export function featureRange(spec: ModelSpec): FeatureRange {
  const rule = visualTokensOf(spec);
  if (rule === undefined) return { least: 0, most: 0, leastTokens: 0, mostTokens: 0 };
  const { least, most } = tokenBounds(rule);
  return { least: least.features, most: most.features, leastTokens: least.tokens, mostTokens: most.tokens };
}
