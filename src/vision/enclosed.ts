import { type ImageTokens, isSize, type PromptPiece, type VisualKind } from "./tokens.ts";

/** Every image brings the same features, between two tokens of their own and line breaks (Gemma 3). Keys are the manifest's. */
export interface EnclosedRule {
  readonly kind: "enclosed";
  readonly features: number;
  readonly patches: number;
  /** The token before the features; in a prompt's text it alone stands for the image. */
  readonly begin: string;
  readonly end: string;
}

/** Begin, end, and a token of two line breaks on either side. */
const MARKERS = 4;
const LONGEST_WORD = 64;

export const ENCLOSED: VisualKind<EnclosedRule> = {
  unit: "images",
  tokensOf: rule => ofEvery(rule),
  bounds: rule => ({ least: ofEvery(rule), most: ofEvery(rule) }),
  pieces: ({ features, begin, end }) =>
    [{ text: `\n\n${begin}` }, { features }, { text: `${end}\n\n` }] as readonly PromptPiece[],
  placeholder: ({ begin }) => begin,
  check({ features, patches, begin, end }) {
    if (!isSize(features) || !isSize(patches)) return "features and patches are not both whole numbers";
    return isWord(begin) && isWord(end) ? undefined : "begin and end are not both words of a tokenizer";
  },
};

function ofEvery({ features, patches }: EnclosedRule): ImageTokens {
  return { tiles: 1, grid: { rows: 0, cols: 0 }, patches, features, tokens: features + MARKERS };
}

function isWord(value: unknown): boolean {
  return typeof value === "string" && value.length > 0 && value.length <= LONGEST_WORD;
}
