import {
  type FeatureRow,
  type Grid,
  type ImageSize,
  type ImageTokens,
  isSize,
  type KeptFeatures,
  type TokenBounds,
  type VisualKind,
} from "./tokens.ts";

/**
 * LLaVA-NeXT and LLaVA-OneVision: the whole image, squeezed, is the first tile. Then it is fitted, with bars about it, into that grid of
 * a list which keeps most of its pixels; the bars' features are cut off again, and a newline's feature ends each row. Keys are the manifest's.
 */
export interface AnyresRule {
  readonly kind: "anyres";
  /** Edge of a tile in pixels. */
  readonly tile: number;
  /** Features, and patches, along an edge of a tile. */
  readonly side: number;
  /** Rows and columns of tiles; of grids that fit alike the first is taken. */
  readonly grids: readonly (readonly [number, number])[];
  /** More features than those of so many tiles are resized to about as many (`anyres_max_9`); absent: all are kept. */
  readonly max_tiles?: number;
  /** true: each of several images in a prompt is one tile, made square with bars (OneVision). */
  readonly squares_several?: boolean;
}

/** Published models have 36 grids of up to 6 × 6 tiles of 27 × 27 features. */
const MAX_GRIDS = 128;
const MAX_EDGE_FEATURES = 1024;

/** So much longer may the edges be than those of `max_tiles` before features are resized. */
const SLACK = 1.1;

export const ANYRES: VisualKind<AnyresRule> = {
  unit: "tiles",
  tokensOf(rule, size) {
    const grid = bestGrid(rule, size);
    return ofKept(rule, grid, keptIn(rule, grid, size));
  },
  bounds: boundsOf,
  pieces: (_rule, { features }) => [{ features }],
  beside: rule => (rule.squares_several ? ofSquare(rule) : undefined),
  rows: ({ side }, { grid, kept }) => [
    ...Array.from({ length: side ** 2 }, (_, row): FeatureRow => [{ row, weight: 1 }]),
    ...(kept === undefined ? (["newline"] as const) : gridRows(side, grid.cols, kept)),
  ],
  check({ tile, side, grids, max_tiles, squares_several }) {
    if (!isSize(tile) || !isSize(side)) return "tile and side are not both whole numbers";
    if (!isGridList(grids, side))
      return `grids is not a list of 1 to ${MAX_GRIDS} [rows, cols] of up to ${MAX_EDGE_FEATURES} features an edge`;
    if (max_tiles !== undefined && !isSize(max_tiles)) return "max_tiles is not a whole number";
    return squares_several === undefined || typeof squares_several === "boolean"
      ? undefined
      : "squares_several is not true or false";
  },
};

function isGridList(grids: unknown, side: number): boolean {
  if (!Array.isArray(grids) || grids.length === 0 || grids.length > MAX_GRIDS) return false;
  return grids.every(
    grid => Array.isArray(grid) && grid.length === 2 && grid.every(n => isSize(n) && n * side <= MAX_EDGE_FEATURES),
  );
}

/** Pixels, [height, width], as rows and columns of tiles; undefined: not all of them are whole tiles, or too many. */
export function gridsOf(
  pinpoints: unknown,
  tile: number,
  side: number,
): readonly (readonly [number, number])[] | undefined {
  if (!Array.isArray(pinpoints)) return undefined;
  const grids = pinpoints.map(edges => (Array.isArray(edges) ? edges.map(edge => Number(edge) / tile) : []));
  return isGridList(grids, side) ? (grids as unknown as [number, number][]) : undefined;
}

/** The grid in which most pixels of the image are left; of several such the one with the fewest pixels to spare. */
export function bestGrid({ tile, grids }: Pick<AnyresRule, "tile" | "grids">, { height, width }: ImageSize): Grid {
  let best = { rows: 1, cols: 1, kept: -1, spare: 0 };
  for (const [rows, cols] of grids) {
    const scale = Math.min((cols * tile) / width, (rows * tile) / height);
    const kept = Math.min(Math.trunc(width * scale) * Math.trunc(height * scale), width * height);
    const spare = rows * cols * tile ** 2 - kept;
    if (kept > best.kept || (kept === best.kept && spare < best.spare)) best = { rows, cols, kept, spare };
  }
  return { rows: best.rows, cols: best.cols };
}

/** The features between the bars: as wide on either side, so that one row of an odd rest is kept. */
function keptIn(rule: AnyresRule, grid: Grid, { height, width }: ImageSize): KeptFeatures {
  const [rows, cols] = [grid.rows * rule.side, grid.cols * rule.side];
  const isWide = width / height > cols / rows;
  return isWide
    ? keptRows(rule, grid, whole(height * (cols / width)))
    : keptCols(rule, grid, whole(width * (rows / height)));
}

/** Python's int(round(x, 7)). */
function whole(filled: number): number {
  return Math.trunc(Number(filled.toFixed(7)));
}

function keptRows(rule: AnyresRule, grid: Grid, filled: number): KeptFeatures {
  const [rows, cols] = [grid.rows * rule.side, grid.cols * rule.side];
  const top = Math.floor((rows - filled) / 2);
  return withResize(rule, { top, left: 0, rows: rows - 2 * top, cols });
}

function keptCols(rule: AnyresRule, grid: Grid, filled: number): KeptFeatures {
  const [rows, cols] = [grid.rows * rule.side, grid.cols * rule.side];
  const left = Math.floor((cols - filled) / 2);
  return withResize(rule, { top: 0, left, rows, cols: cols - 2 * left });
}

function withResize({ side, max_tiles }: AnyresRule, kept: KeptFeatures): KeptFeatures {
  if (max_tiles === undefined) return kept;
  const ratio = Math.sqrt((kept.rows * kept.cols) / (max_tiles * side ** 2));
  if (ratio <= SLACK) return kept;
  return { ...kept, resized: { rows: floorDivide(kept.rows, ratio), cols: floorDivide(kept.cols, ratio) } };
}

/** Python's a // b, which is below a whole number where a / b would be rounded up to it. */
function floorDivide(a: number, b: number): number {
  return Math.round((a - (a % b)) / b);
}

function ofKept({ side }: AnyresRule, grid: Grid, kept: KeptFeatures): ImageTokens {
  const { rows, cols } = kept.resized ?? kept;
  const tiles = grid.rows * grid.cols + 1;
  const features = side ** 2 + rows * (cols + 1);
  return { tiles, grid, patches: tiles * side ** 2, features, tokens: features, kept };
}

/** One tile and one newline. */
function ofSquare({ side }: AnyresRule): ImageTokens {
  const features = side ** 2 + 1;
  return { tiles: 1, grid: { rows: 0, cols: 0 }, patches: side ** 2, features, tokens: features };
}

/** Rows of the tiles' features, the first tile's not among them, each line of the picture ended by a newline. */
function gridRows(side: number, across: number, kept: KeptFeatures): FeatureRow[] {
  const { rows, cols } = kept.resized ?? kept;
  const down = samples(kept.rows, rows, kept.top);
  const along = samples(kept.cols, cols, kept.left);
  const rowAt = (y: number, x: number): number => {
    const tile = 1 + Math.floor(y / side) * across + Math.floor(x / side);
    return tile * side ** 2 + (y % side) * side + (x % side);
  };
  return down.flatMap(ys => {
    const line = along.map(
      (xs): FeatureRow => ys.flatMap(y => xs.map(x => ({ row: rowAt(y.at, x.at), weight: y.weight * x.weight }))),
    );
    return [...line, "newline" as const];
  });
}

interface Sample {
  readonly at: number;
  readonly weight: number;
}

/**
 * One edge of PyTorch's bilinear interpolation without aligned corners: sample i lies at (i + ½) · from / to − ½ of the edge, in
 * float32, between two neighbours. Neighbours of no weight are left out.
 */
function samples(from: number, to: number, offset: number): readonly (readonly Sample[])[] {
  const scale = Math.fround(from / to);
  return Array.from({ length: to }, (_, i) => {
    const place = from === to ? i : Math.max(0, Math.fround(Math.fround(scale * (i + 0.5)) - 0.5));
    const at = Math.floor(place);
    const weight = place - at;
    const near = { at: offset + at, weight: 1 - weight };
    return weight === 0 || at + 1 >= from ? [{ ...near, weight: 1 }] : [near, { at: offset + at + 1, weight }];
  });
}

const known = new WeakMap<AnyresRule, TokenBounds>();

/** Asked for each request, and a loop over all grids. */
function boundsOf(rule: AnyresRule): TokenBounds {
  const bounds = known.get(rule) ?? countBounds(rule);
  known.set(rule, bounds);
  return bounds;
}

/**
 * Over all that images can keep of each grid: all rows, or all columns, and of the other edge as many as no smaller grid would hold as well
 * (`leastFilled`). Resizing makes it no function of the grid's size alone.
 */
function countBounds(rule: AnyresRule): TokenBounds {
  const all = rule.grids.flatMap(([rows, cols]) => {
    const grid = { rows, cols };
    const tall = leastFilled(rule, rule.grids, [rows, cols]);
    const wide = leastFilled(rule, rule.grids.map(turned), [cols, rows]);
    return [
      ...range(tall, rows * rule.side).map(filled => ofKept(rule, grid, keptRows(rule, grid, filled))),
      ...range(wide, cols * rule.side).map(filled => ofKept(rule, grid, keptCols(rule, grid, filled))),
    ];
  });
  const images = rule.squares_several ? [...all, ofSquare(rule)] : all;
  const by = (pick: (a: number, b: number) => number): ImageTokens => images.reduce((a, b) => perNumber(a, b, pick));
  return { least: by(Math.min), most: by(Math.max) };
}

function perNumber(a: ImageTokens, b: ImageTokens, pick: (a: number, b: number) => number): ImageTokens {
  return {
    tiles: pick(a.tiles, b.tiles),
    grid: { rows: pick(a.grid.rows, b.grid.rows), cols: pick(a.grid.cols, b.grid.cols) },
    patches: pick(a.patches, b.patches),
    features: pick(a.features, b.features),
    tokens: pick(a.tokens, b.tokens),
  };
}

/**
 * The fewest rows of features that an image fills of a grid which it fills across: another grid at least as wide, and smaller, that is
 * high enough for them would keep as many pixels, and have fewer to spare.
 */
function leastFilled(
  { side }: AnyresRule,
  grids: AnyresRule["grids"],
  [rows, cols]: readonly [number, number],
): number {
  const smaller = grids.filter(([r, c]) => c >= cols && r * c < rows * cols && r < rows);
  return smaller.reduce((least, [r]) => Math.max(least, r * side), 0);
}

function turned([rows, cols]: readonly [number, number]): readonly [number, number] {
  return [cols, rows];
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}
