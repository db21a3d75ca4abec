import { ANYRES, type AnyresRule } from "./anyres.ts";
import { ASPECT_RATIO_TILES, type AspectRatioTilesRule } from "./aspect-ratio-tiles.ts";
import { ENCLOSED, type EnclosedRule } from "./enclosed.ts";
import { FIXED, type FixedRule } from "./fixed.ts";
import { LONGEST_EDGE_TILES, type LongestEdgeTilesRule } from "./longest-edge-tiles.ts";
import { PATCHES, type PatchesRule } from "./patches.ts";
import type { FeatureRow, ImageSize, ImageTokens, PromptPiece, TokenBounds, VisualKind } from "./tokens.ts";

/** How many tokens an image brings, as a function of its size; ADR 9. Stands in the manifest as it is. */
export type VisualTokenRule =
  | FixedRule
  | EnclosedRule
  | LongestEdgeTilesRule
  | AspectRatioTilesRule
  | AnyresRule
  | PatchesRule;

/** Every kind by its name: one more is a file and two lines here. */
const KINDS: { readonly [K in VisualTokenRule["kind"]]: VisualKind<Extract<VisualTokenRule, { kind: K }>> } = {
  fixed: FIXED,
  enclosed: ENCLOSED,
  longest_edge_tiles: LONGEST_EDGE_TILES,
  aspect_ratio_tiles: ASPECT_RATIO_TILES,
  anyres: ANYRES,
  patches: PATCHES,
};

/** The table's entry for a rule: of that rule's own kind, which the compiler cannot tell for a union. */
function kindOf(rule: VisualTokenRule): VisualKind<VisualTokenRule> {
  return KINDS[rule.kind] as VisualKind<VisualTokenRule>;
}

export function tokensOf(rule: VisualTokenRule, size: ImageSize): ImageTokens {
  return kindOf(rule).tokensOf(rule, size);
}

/** What each of several images in a prompt brings; undefined: what it brings alone. */
export function tokensBeside(rule: VisualTokenRule): ImageTokens | undefined {
  return kindOf(rule).beside?.(rule);
}

/** How an image's rows of the prompt table are made; undefined: they are the tiles' features one after the other. */
export function featureRows(rule: VisualTokenRule, image: ImageTokens): readonly FeatureRow[] | undefined {
  return kindOf(rule).rows?.(rule, image);
}

/** Whether the visual engine gives `image_newline` beside the tiles' features, for rows of the prompt table to be made of. */
export function arrangesFeatures(rule: VisualTokenRule): boolean {
  return kindOf(rule).rows !== undefined;
}

/** The least and the most over all images that the processor can make. */
export function tokenBounds(rule: VisualTokenRule): TokenBounds {
  return kindOf(rule).bounds(rule);
}

/** What stands in the placeholder's place. */
export function promptPieces(rule: VisualTokenRule, image: ImageTokens): readonly PromptPiece[] {
  return kindOf(rule).pieces(rule, image);
}

/** The word that stands for an image in text; undefined: the one that its features have. */
export function placeholderWord(rule: VisualTokenRule): string | undefined {
  return kindOf(rule).placeholder?.(rule);
}

export function visualUnit(rule: VisualTokenRule): VisualKind<VisualTokenRule>["unit"] {
  return kindOf(rule).unit;
}

/** Items of the visual engine's batch that an image is. */
export function unitsOf(rule: VisualTokenRule, image: ImageTokens): number {
  const unit = visualUnit(rule);
  return unit === "images" ? 1 : image[unit];
}

/** Why the processor takes no images of this size; undefined: it does. */
export function sizeProblem(rule: VisualTokenRule, size: ImageSize): string | undefined {
  return kindOf(rule).refuses?.(rule, size);
}

/** What is wrong with a rule that came from a file; undefined: nothing. */
export function ruleProblem(json: unknown): string | undefined {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return "it is not an object";
  const { kind } = json as { readonly kind?: unknown };
  if (typeof kind !== "string" || !Object.hasOwn(KINDS, kind)) return `kind is ${JSON.stringify(kind)}`;
  return KINDS[kind as VisualTokenRule["kind"]].check(json as Readonly<Record<string, unknown>>);
}
