import { tokensOf, type VisualTokenRule } from "./rule.ts";
import type { ImageSize } from "./tokens.ts";

/** Shapes that pictures have: of a square, of cameras, of screens and pages, on either side. Width ÷ height. */
export const USUAL_SHAPES: readonly { readonly name: string; readonly ratio: number }[] = [
  { name: "1:1", ratio: 1 },
  { name: "4:3", ratio: 4 / 3 },
  { name: "3:4", ratio: 3 / 4 },
  { name: "16:9", ratio: 16 / 9 },
  { name: "9:16", ratio: 9 / 16 },
  { name: "A4", ratio: 1 / Math.SQRT2 },
  { name: "4:1", ratio: 4 },
  { name: "1:4", ratio: 1 / 4 },
];

/** Most tokens and features that an image may bring. */
export interface TokenBudget {
  readonly features: number;
  readonly tokens: number;
}

/** The longest edge that is tried, and the step between those: a picture of a phone has 4000 to 8000 pixels. */
const LONGEST = 8192;
const STEP = 32;

/** Up to which longest edge images of one shape fit: this one, and all that are smaller. */
export type Fitting =
  /** Of any size. */
  { readonly kind: "all" } | { readonly kind: "none" } | { readonly kind: "up_to"; readonly size: ImageSize };

export function fitsBudget(rule: VisualTokenRule, size: ImageSize, budget: TokenBudget): boolean {
  const { features, tokens } = tokensOf(rule, size);
  return features <= budget.features && tokens <= budget.tokens;
}

/** By trying sizes from the smallest on: no kind of rule has an inverse of its own, and some are not monotonous. */
export function fittingSizes(rule: VisualTokenRule, ratio: number, budget: TokenBudget): Fitting {
  let last: ImageSize | undefined;
  for (let edge = STEP; edge <= LONGEST; edge += STEP) {
    const size = sizeOf(edge, ratio);
    if (!fitsBudget(rule, size, budget)) return last === undefined ? { kind: "none" } : { kind: "up_to", size: last };
    last = size;
  }
  return { kind: "all" };
}

function sizeOf(longest: number, ratio: number): ImageSize {
  const other = (factor: number): number => Math.max(1, Math.round(longest * factor));
  return ratio >= 1 ? { width: longest, height: other(1 / ratio) } : { height: longest, width: other(ratio) };
}

/** `1280x720`, width first, as cameras and screens are called. */
export function showSize({ width, height }: ImageSize): string {
  return `${width}x${height}`;
}

/** Pixels along an edge of a picture file. */
const MAX_EDGE = 65_535;

/** The size that `1280x720` names; undefined when it names none. */
export function parseSize(text: string): ImageSize | undefined {
  const [, width = 0, height = 0] = /^(\d{1,5})[x×](\d{1,5})$/.exec(text.trim())?.map(Number) ?? [];
  const fits = [width, height].every(edge => edge >= 1 && edge <= MAX_EDGE);
  return fits ? { width, height } : undefined;
}
