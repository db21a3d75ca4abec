import { type PatchesRule, tokenBounds } from "../vision/index.ts";

/** Sizes of one call of an encoder of packed patches: features of all pictures, the pictures, their windows. */
export interface PackedLimits {
  readonly features: number;
  readonly frames: number;
  readonly windows: number;
}

/** The most that `patches` of any pictures can be. */
export function packedLimits(rule: PatchesRule, patches: number): PackedLimits {
  const features = Math.max(1, Math.floor(patches / rule.merge ** 2));
  const least = tokenBounds(rule).least.features;
  return {
    features,
    frames: Math.max(1, Math.floor(features / least)),
    windows: Math.min(features, Math.ceil(features * mostWindows(rule, least))),
  };
}

/**
 * Windows for each feature of the picture with the most of them. Windows along an edge are ⌈a ÷ e⌉ of a features; a larger share of one
 * than e-th parts is where a is one more than a multiple of e, or the least that it can be.
 */
function mostWindows({ window, patch, merge }: PatchesRule, least: number): number {
  if (window === undefined) return 1;
  const edge = Math.floor(Math.floor(window / merge) / patch);
  const share = (side: number): number => Math.ceil(side / edge) / side;
  let most = 1 / edge ** 2;
  for (let shorter = 1; shorter <= Math.ceil(Math.sqrt(least)) + edge; shorter++) {
    const longer = Math.max(shorter, Math.ceil(least / shorter));
    const next = Math.ceil((longer - 1) / edge) * edge + 1;
    most = Math.max(most, share(shorter) * Math.max(share(longer), share(next)));
  }
  return most;
}
