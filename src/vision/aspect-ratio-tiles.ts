import { type Grid, type ImageSize, type ImageTokens, isSize, type PromptPiece, type VisualKind } from "./tokens.ts";

/**
 * InternVL: of all grids of `min_tiles` to `max_tiles` tiles the one whose shape is nearest to the image's, and the whole image as
 * one more tile where there are several. Keys are the manifest's; `tile` in pixels.
 */
export interface AspectRatioTilesRule {
  readonly kind: "aspect_ratio_tiles";
  readonly tile: number;
  readonly min_tiles: number;
  readonly max_tiles: number;
  readonly features_per_tile: number;
  readonly patches_per_tile: number;
}

/** Grids are tried one by one for every image; published models have 12 tiles. */
const MAX_TILES = 1024;
const [BEFORE, AFTER] = ["<img>", "</img>"];

export const ASPECT_RATIO_TILES: VisualKind<AspectRatioTilesRule> = {
  unit: "tiles",
  tokensOf: (rule, size) => ofGrid(rule, gridForAspectRatio(rule, size)),
  bounds(rule) {
    const tiles = grids(rule).map(({ rows, cols }) => rows * cols);
    const line = (cols: number): ImageTokens => ofGrid(rule, { rows: 1, cols });
    return { least: line(tiles[0] ?? 1), most: line(tiles.at(-1) ?? 1) };
  },
  pieces: (_rule, { features }) => [{ text: BEFORE }, { features }, { text: AFTER }] as PromptPiece[],
  check({ tile, min_tiles, max_tiles, features_per_tile, patches_per_tile }) {
    if (![tile, min_tiles, max_tiles, features_per_tile, patches_per_tile].every(isSize))
      return "tile, min_tiles, max_tiles, features_per_tile and patches_per_tile are not whole numbers";
    return (min_tiles as number) <= (max_tiles as number) && (max_tiles as number) <= MAX_TILES
      ? undefined
      : `min_tiles ${min_tiles} and max_tiles ${max_tiles} are not a range within 1 and ${MAX_TILES}`;
  },
};

/**
 * Of grids equally near, a later one (more tiles, or more columns) is taken where the image has more than half its pixels. The arithmetic is
 * the processor's, in doubles.
 */
export function gridForAspectRatio(
  rule: Pick<AspectRatioTilesRule, "tile" | "min_tiles" | "max_tiles">,
  { height, width }: ImageSize,
): Grid {
  let [best, nearest] = [{ rows: 1, cols: 1 }, Number.POSITIVE_INFINITY];
  for (const grid of grids(rule)) {
    const distance = Math.abs(width / height - grid.cols / grid.rows);
    const large = width * height > 0.5 * rule.tile * rule.tile * grid.rows * grid.cols;
    if (distance < nearest || (distance === nearest && large)) best = grid;
    nearest = Math.min(nearest, distance);
  }
  return best;
}

/** Fewest tiles first, then fewest columns. */
function grids({ min_tiles, max_tiles }: Pick<AspectRatioTilesRule, "min_tiles" | "max_tiles">): Grid[] {
  const sides = Array.from({ length: max_tiles }, (_, i) => i + 1);
  return sides
    .flatMap(cols => sides.slice(0, Math.floor(max_tiles / cols)).map(rows => ({ rows, cols })))
    .filter(({ rows, cols }) => rows * cols >= min_tiles)
    .sort((a, b) => a.rows * a.cols - b.rows * b.cols);
}

function ofGrid(rule: AspectRatioTilesRule, grid: Grid): ImageTokens {
  const cut = grid.rows * grid.cols;
  const tiles = cut === 1 ? 1 : cut + 1;
  const features = tiles * rule.features_per_tile;
  return {
    ...{ tiles, grid: cut === 1 ? { rows: 0, cols: 0 } : grid },
    ...{ patches: tiles * rule.patches_per_tile, features, tokens: features + 2 },
  };
}
