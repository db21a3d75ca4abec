export { type AnyresRule, bestGrid } from "./anyres.ts";
export { type AspectRatioTilesRule, gridForAspectRatio } from "./aspect-ratio-tiles.ts";
export type { EnclosedRule } from "./enclosed.ts";
export * from "./fit.ts";
export type { FixedRule } from "./fixed.ts";
export { type LongestEdgeTilesRule, resizedForTiles } from "./longest-edge-tiles.ts";
export * from "./rule.ts";
export * from "./tokens.ts";
