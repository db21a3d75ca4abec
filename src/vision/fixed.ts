import { type ImageTokens, isSize, type VisualKind } from "./tokens.ts";

/** Every image is made the same size and brings the same (LLaVA-1.5, VILA, BLIP-2). Keys are the manifest's. */
export interface FixedRule {
  readonly kind: "fixed";
  readonly features: number;
  readonly patches: number;
}

export const FIXED: VisualKind<FixedRule> = {
  unit: "images",
  tokensOf: rule => ofEvery(rule),
  bounds: rule => ({ least: ofEvery(rule), most: ofEvery(rule) }),
  pieces: ({ features }) => [{ features }],
  check: ({ features, patches }) =>
    isSize(features) && isSize(patches) ? undefined : "features and patches are not both whole numbers",
};

function ofEvery({ features, patches }: FixedRule): ImageTokens {
  return { tiles: 1, grid: { rows: 0, cols: 0 }, patches, features, tokens: features };
}
