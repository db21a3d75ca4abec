import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AspectRatioTilesRule,
  type LongestEdgeTilesRule,
  placeholderWord,
  promptPieces,
  ruleProblem,
  tokenBounds,
  tokensOf,
  unitsOf,
  type VisualTokenRule,
  visualUnit,
} from "../../../src/vision/index.ts";

interface Case<Kind, Settings> {
  readonly kind: Kind;
  readonly settings: Settings;
  readonly images: readonly (readonly [number, number, number, number, number])[];
}

type TileCase =
  | Case<"longest_edge_tiles", { readonly longest_edge: number; readonly tile: number; readonly splits?: boolean }>
  | Case<"aspect_ratio_tiles", Pick<AspectRatioTilesRule, "tile" | "min_tiles" | "max_tiles">>;

const ALL_CASES = JSON.parse(readFileSync("test/fixtures/vision/tiles.json", "utf8")) as readonly TileCase[];
const CASES = ALL_CASES.filter(one => one.kind === "longest_edge_tiles");

function tiles(longest_edge: number, tile: number, splits = true): LongestEdgeTilesRule {
  return { kind: "longest_edge_tiles", longest_edge, tile, splits, features_per_tile: 5, patches_per_tile: 45 };
}

function nearest(settings: Pick<AspectRatioTilesRule, "tile" | "min_tiles" | "max_tiles">): AspectRatioTilesRule {
  return { kind: "aspect_ratio_tiles", ...settings, features_per_tile: 4, patches_per_tile: 16 };
}

const FIXED: VisualTokenRule = { kind: "fixed", features: 19, patches: 76 };

describe("Tiles of images whose longest edge is resized", () => {
  for (const { settings, images } of CASES) {
    const { longest_edge, tile, splits } = settings;
    it(`are as many as transformers cuts, for longest_edge ${longest_edge} and tiles of ${tile}${splits === false ? ", uncut" : ""}`, () => {
      const rule = tiles(longest_edge, tile, splits);
      const ours = images.map(([height, width]) => {
        const { grid, tiles } = tokensOf(rule, { height, width });
        return [height, width, grid.rows, grid.cols, tiles];
      });
      expect(ours).toEqual(images);
    });
  }

  it("bring features, patches and markers that add up to the prompt's pieces", () => {
    const image = tokensOf(tiles(96, 24), { height: 72, width: 96 });
    expect(image).toEqual({
      tiles: 13,
      grid: { rows: 3, cols: 4 },
      patches: 585,
      features: 65,
      tokens: 65 + 24 + 3 + 3,
    });
    const pieces = promptPieces(tiles(96, 24), image);
    const text = pieces.map(piece => ("text" in piece ? piece.text : ".".repeat(piece.features))).join("");
    const row = (n: number): string =>
      [1, 2, 3, 4].map(col => `<fake_token_around_image><row_${n}_col_${col}>.....`).join("");
    const global = "<fake_token_around_image><global-img>.....<fake_token_around_image>";
    expect(text).toBe(`${row(1)}\n${row(2)}\n${row(3)}\n\n${global}`);
  });

  it("of an uncut image are the global one alone", () => {
    const rule = tiles(24, 24);
    const image = tokensOf(rule, { height: 19, width: 7 });
    expect(image).toMatchObject({ tiles: 1, grid: { rows: 0, cols: 0 }, features: 5, tokens: 8 });
    expect(promptPieces(rule, image)).toEqual([
      { text: "<fake_token_around_image><global-img>" },
      { features: 5 },
      { text: "<fake_token_around_image>" },
    ]);
  });
});

describe("Bounds of what images bring", () => {
  const edge = fc.integer({ min: 1, max: 5000 });
  const rule = fc.record({
    longest: fc.integer({ min: 1, max: 5000 }),
    tile: fc.integer({ min: 30, max: 989 }),
    cut: fc.boolean(),
  });

  it("hold every image, and are reached", () => {
    fc.assert(
      fc.property(rule, edge, edge, ({ longest, tile, cut }, height, width) => {
        const one = tiles(longest, tile, cut);
        const { least, most } = tokenBounds(one);
        const image = tokensOf(one, { height, width });
        for (const key of ["tiles", "patches", "features", "tokens"] as const) {
          expect(image[key]).toBeGreaterThanOrEqual(least[key]);
          expect(image[key]).toBeLessThanOrEqual(most[key]);
        }
        expect(tokensOf(one, { height: 989, width: 989 })).toEqual(most);
        expect(tokensOf(one, { height: 1, width: 5000 })).toEqual(least);
      }),
    );
  });

  it("count the pixel that makes the shorter edge of a square even", () => {
    for (const [longest, tile, most] of [
      [93, 31, 17],
      [31, 31, 5],
      [94, 47, 5],
    ] as const) {
      expect(tokensOf(tiles(longest, tile), { height: 1, width: 1 }).tiles).toBe(most);
      expect(tokenBounds(tiles(longest, tile)).most.tiles).toBe(most);
    }
  });

  it("of a family with one size are that size", () => {
    const all = { tiles: 1, grid: { rows: 0, cols: 0 }, patches: 76, features: 19, tokens: 19 };
    expect(tokenBounds(FIXED)).toEqual({ least: all, most: all });
    expect(tokensOf(FIXED, { height: 3, width: 989 })).toEqual(all);
    expect(promptPieces(FIXED, all)).toEqual([{ features: 19 }]);
  });
});

describe("Images between two tokens of their own", () => {
  const rule: VisualTokenRule = { kind: "enclosed", features: 2, patches: 18, begin: "<start>", end: "<end>" };

  it("are the same whatever their size, with line breaks about them, and one word in the text", () => {
    const image = tokensOf(rule, { height: 3, width: 989 });
    expect(image).toEqual({ tiles: 1, grid: { rows: 0, cols: 0 }, patches: 18, features: 2, tokens: 6 });
    expect(tokenBounds(rule)).toEqual({ least: image, most: image });
    expect(promptPieces(rule, image)).toEqual([{ text: "\n\n<start>" }, { features: 2 }, { text: "<end>\n\n" }]);
    expect([placeholderWord(rule), placeholderWord(FIXED)]).toEqual(["<start>", undefined]);
  });

  it.each([
    ["end", 7],
    ["begin", ""],
    ["begin", "x".repeat(65)],
    ["features", 0],
  ])("with %s %j are refused from a manifest", (key, value) => {
    expect(ruleProblem(rule)).toBeUndefined();
    expect(ruleProblem({ ...rule, [key]: value })).toBeTypeOf("string");
  });
});

describe("The visual engine's batch", () => {
  it("counts images of one size, and tiles where images are cut", () => {
    const image = tokensOf(tiles(96, 24), { height: 24, width: 96 });
    expect([visualUnit(FIXED), unitsOf(FIXED, tokensOf(FIXED, { height: 1, width: 1 }))]).toEqual(["images", 1]);
    expect([visualUnit(tiles(96, 24)), unitsOf(tiles(96, 24), image)]).toEqual(["tiles", 5]);
  });
});

describe("A rule from a manifest", () => {
  it("passes as it was written", () => {
    for (const rule of [FIXED, tiles(96, 24)]) expect(ruleProblem(JSON.parse(JSON.stringify(rule)))).toBeUndefined();
  });

  it.each([
    ["of another kind", { kind: "toString" }],
    ["without a kind", {}],
    ["that is a list", []],
    ["that is null", null],
    ["with a size of zero", { ...tiles(96, 24), tile: 0 }],
    ["with a size beyond any picture", { ...tiles(96, 24), longest_edge: 2 ** 40 }],
    ["with a text for a number", { ...FIXED, features: "19" }],
    ["with a number for a flag", { ...tiles(96, 24), splits: 1 }],
  ])("%s is refused", (_, json) => {
    expect(ruleProblem(json)).toBeTypeOf("string");
  });
});

describe("Tiles of the nearest aspect ratio", () => {
  for (const { settings, images } of ALL_CASES.filter(one => one.kind === "aspect_ratio_tiles")) {
    it(`are as many as transformers cuts, for ${settings.min_tiles} to ${settings.max_tiles} tiles of ${settings.tile}`, () => {
      const ours = images.map(([height, width]) => {
        const { grid, tiles } = tokensOf(nearest(settings), { height, width });
        return [height, width, grid.rows, grid.cols, tiles];
      });
      expect(ours).toEqual(images);
    });
  }

  it("stand between the markers of an image", () => {
    const rule = nearest({ tile: 24, min_tiles: 1, max_tiles: 12 });
    const image = tokensOf(rule, { height: 48, width: 96 });
    expect(image).toEqual({ tiles: 9, grid: { rows: 2, cols: 4 }, patches: 144, features: 36, tokens: 38 });
    expect(promptPieces(rule, image)).toEqual([{ text: "<img>" }, { features: 36 }, { text: "</img>" }]);
  });

  it("stay within the bounds for any image, and reach both", () => {
    const settings = fc.record({
      tile: fc.integer({ min: 1, max: 64 }),
      min_tiles: fc.integer({ min: 1, max: 9 }),
      more: fc.nat({ max: 9 }),
    });
    const edge = fc.integer({ min: 1, max: 2000 });
    fc.assert(
      fc.property(settings, edge, edge, ({ tile, min_tiles, more }, height, width) => {
        const rule = nearest({ tile, min_tiles, max_tiles: min_tiles + more });
        const { least, most } = tokenBounds(rule);
        const { tiles } = tokensOf(rule, { height, width });
        expect(tiles).toBeGreaterThanOrEqual(least.tiles);
        expect(tiles).toBeLessThanOrEqual(most.tiles);
        expect(tokensOf(rule, { height: 1, width: min_tiles }).tiles).toBe(least.tiles);
        expect(tokensOf(rule, { height: tile, width: tile * rule.max_tiles }).tiles).toBe(most.tiles);
      }),
    );
  });

  it("refuse ranges of tiles that no image can have", () => {
    const rule = nearest({ tile: 24, min_tiles: 5, max_tiles: 4 });
    expect(ruleProblem(rule)).toMatch(/not a range/);
    expect(ruleProblem({ ...rule, max_tiles: 1e6 })).toMatch(/not a range/);
    expect(ruleProblem({ ...rule, tile: 0 })).toMatch(/not whole numbers/);
    expect(ruleProblem({ ...rule, max_tiles: 5 })).toBeUndefined();
  });
});
