/** Pixels. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

/** Rows and columns. */
export interface Grid {
  readonly rows: number;
  readonly cols: number;
}

/** What one image brings to the engines and to its prompt. */
export interface ImageTokens {
  /** Pictures of one size that the visual engine sees: tiles with the global one; 1 where the image is seen whole. */
  readonly tiles: number;
  /** Tiles of the cut image, 0 × 0 where it is not cut; of a model of packed patches the patches of the resized image. */
  readonly grid: Grid;
  /** Patches that the image encoder works on, in all tiles. */
  readonly patches: number;
  /** Rows of the prompt table. */
  readonly features: number;
  /** Tokens of the prompt in the placeholder's place: features, and the markers about them. */
  readonly tokens: number;
  /** Of an image that is fitted into a grid of tiles with bars about it: what of the tiles' features goes to the prompt. */
  readonly kept?: KeptFeatures;
}

/** A part of the grid that the features of all tiles make, and the rows and columns that it is resized to. */
export interface KeptFeatures extends Grid {
  readonly top: number;
  readonly left: number;
  readonly resized?: Grid;
}

/** One row of the prompt table: a weighted sum of rows of an image's tiles, or the visual engine's `image_newline`. */
export type FeatureRow = readonly { readonly row: number; readonly weight: number }[] | "newline";

/** What stands in the placeholder's place: so many features, or text for the tokenizer. */
export type PromptPiece = { readonly features: number } | { readonly text: string };

/** The least and the most over all images that the processor can make, number by number. */
export interface TokenBounds {
  readonly least: ImageTokens;
  readonly most: ImageTokens;
}

/** What one kind of rule knows; ADR 9. All of it is pure, and `rule` has passed `check`. */
export interface VisualKind<Rule> {
  /** What the visual engine's batch counts. */
  readonly unit: "images" | "tiles" | "patches";
  tokensOf(rule: Rule, size: ImageSize): ImageTokens;
  bounds(rule: Rule): TokenBounds;
  /** Runs of features and the text between them, in order; the features add up to `image.features`. */
  pieces(rule: Rule, image: ImageTokens): readonly PromptPiece[];
  /** What each of several images in a prompt brings, where that is not what it brings alone. */
  beside?(rule: Rule): ImageTokens | undefined;
  /** How an image's rows of the prompt table are made, where they are not the tiles' features one after the other. */
  rows?(rule: Rule, image: ImageTokens): readonly FeatureRow[];
  /** The word that stands for an image in text, where it is not the one that its features have. */
  placeholder?(rule: Rule): string;
  /** Why the processor takes no images of this size, where it does not take all; `tokensOf` is of no account for those. */
  refuses?(rule: Rule, size: ImageSize): string | undefined;
  /** What is wrong with the numbers of a rule that came from a file; undefined: nothing. */
  check(json: Readonly<Record<string, unknown>>): string | undefined;
}

/** A whole number of pixels, tiles or features as a file may state it: no image has more. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SIZE;
}

/** 2^24: features of an image are counted before tables of them are made; the largest published has 2^14. */
const MAX_SIZE = 16_777_216;
