import { type Grid, type ImageSize, type ImageTokens, isSize, type PromptPiece, type VisualKind } from "./tokens.ts";

/**
 * Idefics3 and SmolVLM: the longest edge is resized to `longest_edge`, both edges up to whole tiles, the tiles are cut, row by
 * row, and the whole image as one more tile comes last. Keys are the manifest's; sizes in pixels.
 */
export interface LongestEdgeTilesRule {
  readonly kind: "longest_edge_tiles";
  readonly longest_edge: number;
  /** Edge of a tile: what the image encoder sees. */
  readonly tile: number;
  /** false: the image is one tile, whatever its size (do_image_splitting). */
  readonly splits: boolean;
  readonly features_per_tile: number;
  readonly patches_per_tile: number;
}

/** No picture is made larger, whatever `longest_edge` says. */
export const MAX_EDGE = 4096;

/** Stands before each tile's features and after the last. */
const AROUND = "<fake_token_around_image>";
const GLOBAL = "<global-img>";

export const LONGEST_EDGE_TILES: VisualKind<LongestEdgeTilesRule> = {
  unit: "tiles",
  tokensOf: (rule, size) => ofGrid(rule, gridOf(rule, size)),
  bounds(rule) {
    const side = (edge: number): number => Math.ceil(Math.min(edge, MAX_EDGE) / rule.tile);
    const whole = ofGrid(rule, { rows: 0, cols: 0 });
    const cut = (rows: number, cols: number): ImageTokens => (cols === 1 ? whole : ofGrid(rule, { rows, cols }));
    if (!rule.splits) return { least: whole, most: whole };
    // One edge is `longest_edge`, the other from nothing to as long, made even, which of a square may be a pixel more. A single tile is not cut.
    const [across, most] = [side(rule.longest_edge), side(rule.longest_edge + (rule.longest_edge % 2))];
    return { least: cut(1, across), most: cut(most, most) };
  },
  pieces: (rule, { grid }) => piecesOf(rule, grid),
  check({ longest_edge, tile, splits, features_per_tile, patches_per_tile }) {
    const sizes = [longest_edge, tile, features_per_tile, patches_per_tile];
    if (!sizes.every(isSize)) return "longest_edge, tile, features_per_tile and patches_per_tile are not whole numbers";
    return typeof splits === "boolean" ? undefined : "splits is not true or false";
  },
};

/** The size after each of the two resizes, the second one to whole tiles; every step truncated as Python's int(). */
export function resizedForTiles(
  { longest_edge, tile }: Pick<LongestEdgeTilesRule, "longest_edge" | "tile">,
  size: ImageSize,
): { readonly first: ImageSize; readonly tiled: ImageSize } {
  const first = belowMaxEdge(toLongestEdge(size, longest_edge));
  const { height, width } = first;
  const whole = (edge: number): number => Math.ceil(edge / tile) * tile;
  if (width >= height) {
    const across = whole(width);
    return { first, tiled: { width: across, height: whole(Math.trunc(across / (width / height))) } };
  }
  const down = whole(height);
  return { first, tiled: { height: down, width: whole(Math.trunc(down * (width / height))) } };
}

/** The longest edge of exactly `longest` pixels; the other one even. */
function toLongestEdge({ height, width }: ImageSize, longest: number): ImageSize {
  const ratio = width / height;
  const even = (edge: number): number => Math.max(1, edge % 2 === 0 ? edge : edge + 1);
  if (width >= height) return { width: longest, height: even(Math.trunc(longest / ratio)) };
  return { height: longest, width: even(Math.trunc(longest * ratio)) };
}

function belowMaxEdge({ height, width }: ImageSize): ImageSize {
  const ratio = width / height;
  if (width >= height && width > MAX_EDGE)
    return { width: MAX_EDGE, height: Math.max(1, Math.trunc(MAX_EDGE / ratio)) };
  if (height > width && height > MAX_EDGE)
    return { height: MAX_EDGE, width: Math.max(1, Math.trunc(MAX_EDGE * ratio)) };
  return { height, width };
}

function gridOf(rule: LongestEdgeTilesRule, size: ImageSize): Grid {
  if (!rule.splits) return { rows: 0, cols: 0 };
  const { tiled } = resizedForTiles(rule, size);
  const grid = { rows: tiled.height / rule.tile, cols: tiled.width / rule.tile };
  return grid.rows === 1 && grid.cols === 1 ? { rows: 0, cols: 0 } : grid;
}

/** A marker counts as one token, and so does a run of line breaks. */
function ofGrid(rule: LongestEdgeTilesRule, grid: Grid): ImageTokens {
  const tiles = grid.rows * grid.cols + 1;
  const features = tiles * rule.features_per_tile;
  const cut = tiles - 1;
  // Two for each cut tile and a line break for each row, whose last one the global image's joins; three for the global image.
  const markers = 2 * cut + grid.rows + 3;
  return { tiles, grid, patches: tiles * rule.patches_per_tile, features, tokens: features + markers };
}

function piecesOf({ features_per_tile: features }: LongestEdgeTilesRule, { rows, cols }: Grid): PromptPiece[] {
  const cut = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: cols }, (_, col): PromptPiece[] => {
      const lineBreak = col === 0 && row > 0 ? "\n" : "";
      return [{ text: `${lineBreak}${AROUND}<row_${row + 1}_col_${col + 1}>` }, { features }];
    }),
  );
  const lead = rows > 0 ? "\n\n" : "";
  return [...cut.flat(2), { text: `${lead}${AROUND}${GLOBAL}` }, { features }, { text: AROUND }];
}
