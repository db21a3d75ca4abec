import { type Grid, type ImageSize, type ImageTokens, isSize, type VisualKind } from "./tokens.ts";

/**
 * Qwen2-VL and its successors: an image keeps its shape, has as many pixels as it had within two limits, and is cut into patches of which
 * `merge` × `merge` become one feature. Keys are the manifest's; sizes in pixels.
 */
export interface PatchesRule {
  readonly kind: "patches";
  readonly patch: number;
  /** Patches along each side of a feature. */
  readonly merge: number;
  /** Frames of a patch; an image is as many times the same. */
  readonly temporal_patch: number;
  readonly min_pixels: number;
  readonly max_pixels: number;
  /** Edge of the windows that most layers attend within (Qwen2.5-VL). */
  readonly window?: number;
  /** Entries along a side of the learned position table, read between its entries (Qwen3-VL). */
  readonly table_side?: number;
}

/** Longer images than this many times their width are refused by the processors. */
export const MAX_RATIO = 200;

export const PATCHES: VisualKind<PatchesRule> = {
  unit: "patches",
  tokensOf(rule, size) {
    const { height, width } = resizedForPatches(rule, size);
    return patchTokens(rule, { rows: height / rule.patch, cols: width / rule.patch });
  },
  bounds(rule) {
    const { least, most } = extremes(rule);
    const ofFeatures = ({ rows, cols }: Grid): ImageTokens =>
      patchTokens(rule, { rows: rows * rule.merge, cols: cols * rule.merge });
    return { least: ofFeatures(least), most: ofFeatures(most) };
  },
  // What stands about an image is text of the chat template.
  pieces: (_rule, { features }) => [{ features }],
  refuses(_rule, { height, width }) {
    const ratio = Math.max(height, width) / Math.min(height, width);
    return ratio <= MAX_RATIO
      ? undefined
      : `its sides are as 1 to ${ratio.toFixed(1)}; expected at most 1 to ${MAX_RATIO}`;
  },
  check({ patch, merge, temporal_patch, min_pixels, max_pixels, window, table_side }) {
    if (![patch, merge, temporal_patch, min_pixels, max_pixels].every(isSize))
      return "patch, merge, temporal_patch, min_pixels and max_pixels are not whole numbers";
    if (![window, table_side].every(size => size === undefined || isSize(size)))
      return "window and table_side are not whole numbers";
    const edge = (patch as number) * (merge as number);
    if ((max_pixels as number) < Math.max(edge * edge, min_pixels as number))
      return `max_pixels ${max_pixels} is less than min_pixels or than a feature's ${edge} × ${edge} pixels`;
    return window === undefined || (window as number) >= edge
      ? undefined
      : `window ${window} holds no feature of ${edge} pixels`;
  },
};

type Limits = Pick<PatchesRule, "patch" | "merge" | "min_pixels" | "max_pixels">;

/** The size that an image is resized to: sides of whole features, pixels within the limits; the arithmetic is the processors', in doubles. */
export function resizedForPatches(
  { patch, merge, min_pixels, max_pixels }: Limits,
  { height, width }: ImageSize,
): ImageSize {
  const edge = patch * merge;
  const near = { height: roundHalfEven(height / edge) * edge, width: roundHalfEven(width / edge) * edge };
  const pixels = near.height * near.width;
  if (pixels > max_pixels) {
    const beta = Math.sqrt((height * width) / max_pixels);
    const down = (side: number): number => Math.max(edge, Math.floor(side / beta / edge) * edge);
    return { height: down(height), width: down(width) };
  }
  if (pixels < min_pixels) {
    const beta = Math.sqrt(min_pixels / (height * width));
    const up = (side: number): number => Math.ceil((side * beta) / edge) * edge;
    return { height: up(height), width: up(width) };
  }
  return near;
}

/** Python's round(). */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** What an image of so many rows and columns of patches brings. */
export function patchTokens({ merge }: Pick<PatchesRule, "merge">, grid: Grid): ImageTokens {
  const patches = grid.rows * grid.cols;
  const features = patches / (merge * merge);
  return { tiles: 1, grid, patches, features, tokens: features };
}

/**
 * Grids of the fewest and of the most features. With a the shorter side in features and b the longer one, b ≤ 200 a, an image has
 * round(a) × round(b) of them where that lies within the limits, else floor(a) × floor(b) with a b the upper limit (1 at least each), or
 * ceil(a) × ceil(b) with a b the lower one. Each number of rows is tried with the longest and the shortest row it can have.
 */
function extremes(rule: Limits): { readonly least: Grid; readonly most: Grid } {
  const area = (rule.patch * rule.merge) ** 2;
  const [lower, upper] = [rule.min_pixels / area, rule.max_pixels / area];
  const [few, many]: [Grid[], Grid[]] = [[], []];
  for (let rows = 1; rows <= Math.ceil(Math.sqrt(upper)) + 1; rows++) {
    const longest = MAX_RATIO * rows + MAX_RATIO / 2;
    const rounded = Math.min(Math.floor(upper / rows), longest);
    if (rounded >= 1 && rounded * rows >= lower) many.push({ rows, cols: rounded });
    const fewest = Math.max(1, Math.ceil(lower / rows));
    if (fewest <= longest && rows * fewest <= upper) few.push({ rows, cols: fewest });
    few.push({ rows, cols: Math.max(1, Math.floor(upper / (rows + 1))) });
    const shorter = Math.max(rows - 1, Math.sqrt(lower / MAX_RATIO));
    if (shorter < rows) many.push({ rows, cols: Math.ceil(lower / shorter) });
  }
  // A strip has one row however long that makes it.
  if (upper < MAX_RATIO) many.push({ rows: 1, cols: Math.floor(Math.sqrt(upper * MAX_RATIO)) });
  const size = ({ rows, cols }: Grid): number => rows * cols;
  return {
    least: few.reduce((best, grid) => (size(grid) < size(best) ? grid : best)),
    most: many.reduce((best, grid) => (size(grid) > size(best) ? grid : best)),
  };
}
