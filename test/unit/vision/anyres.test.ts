import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AnyresRule,
  arrangesFeatures,
  type FeatureRow,
  featureRows,
  promptPieces,
  ruleProblem,
  tokenBounds,
  tokensBeside,
  tokensOf,
  visualUnit,
} from "../../../src/vision/index.ts";

/** Made by test/reference/make_anyres_fixtures.py. */
interface Case {
  readonly rule: AnyresRule;
  readonly images: readonly (readonly [number, number, number, number, number])[];
  /** Weighted sums of packed rows [r, r % 10], and of a newline [−1, −1]. */
  readonly packed: readonly (readonly [number, number, number, number])[];
}

const CASES = JSON.parse(readFileSync("test/fixtures/vision/anyres.json", "utf8")) as readonly Case[];
const [NEXT, ONEVISION] = CASES.map(({ rule }) => rule) as [AnyresRule, AnyresRule];

/** The value of one of the two channels in a row. */
function channel(row: FeatureRow, of: (row: number) => number): number {
  return row === "newline" ? -1 : row.reduce((sum, { row: from, weight }) => sum + weight * of(from), 0);
}

describe.each(CASES)("Grids of $rule.grids.length shapes of $rule.tile pixels a tile", ({ rule, images, packed }) => {
  it("are chosen, and bring as many features, as in transformers' processors", () => {
    const ours = images.map(([height, width]) => {
      const { grid, features, tokens, tiles } = tokensOf(rule, { height, width });
      expect([tokens, tiles]).toEqual([features, grid.rows * grid.cols + 1]);
      return [height, width, grid.rows, grid.cols, features];
    });
    expect(ours).toEqual(images);
  });

  it("are unpadded, resized and ended by newlines as transformers' models do it", () => {
    for (const [height, width, whole, rest] of packed) {
      const rows = featureRows(rule, tokensOf(rule, { height, width })) ?? [];
      const sum = (of: (row: number) => number): number =>
        rows.reduce((total, row, i) => total + ((i % 7) + 1) * channel(row, of), 0);
      expect(sum(row => row) / whole, `${height} × ${width}`).toBeCloseTo(1, 6);
      expect(sum(row => row % 10) / rest, `${height} × ${width}`).toBeCloseTo(1, 5);
    }
  });

  it("stay within the bounds for any image", () => {
    const edge = fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 5 * rule.tile }));
    const { least, most } = tokenBounds(rule);
    fc.assert(
      fc.property(edge, edge, (height, width) => {
        const image = tokensOf(rule, { height, width });
        for (const key of ["tiles", "patches", "features", "tokens"] as const) {
          expect(image[key]).toBeGreaterThanOrEqual(least[key]);
          expect(image[key]).toBeLessThanOrEqual(most[key]);
        }
        expect(featureRows(rule, image)).toHaveLength(image.features);
      }),
      { numRuns: 60 },
    );
  });
});

describe("Published grids", () => {
  it("bring at most 2928 features in LLaVA-NeXT and 8765 in OneVision, and images do", () => {
    expect([tokenBounds(NEXT).least.features, tokenBounds(NEXT).most.features]).toEqual([576, 2928]);
    expect(tokensOf(NEXT, { height: 672, width: 672 }).features).toBe(2928);
    expect(tokensOf(NEXT, { height: 1, width: 3000 }).features).toBe(576);
    expect([tokenBounds(ONEVISION).least.features, tokenBounds(ONEVISION).most.features]).toEqual([730, 8765]);
    expect(tokensOf(ONEVISION, { height: 1158, width: 950 }).features).toBe(8765);
  });

  it("are left by each of several images in a prompt of OneVision, not of LLaVA-NeXT", () => {
    const square = { tiles: 1, grid: { rows: 0, cols: 0 }, patches: 729, features: 730, tokens: 730 };
    expect(tokensBeside(ONEVISION)).toEqual(square);
    expect(tokensBeside(NEXT)).toBeUndefined();
    const rows = featureRows(ONEVISION, square) ?? [];
    expect([rows.length, rows.at(0), rows.at(-1)]).toEqual([730, [{ row: 0, weight: 1 }], "newline"]);
  });

  it("count tiles, and put features alone into the prompt", () => {
    expect([visualUnit(NEXT), arrangesFeatures(NEXT)]).toEqual(["tiles", true]);
    expect(promptPieces(NEXT, tokensOf(NEXT, { height: 672, width: 672 }))).toEqual([{ features: 2928 }]);
  });
});

describe("A grid's rule from a manifest", () => {
  it("passes as it was written", () => {
    for (const { rule } of CASES) expect(ruleProblem(JSON.parse(JSON.stringify(rule)))).toBeUndefined();
  });

  it.each<[string, Readonly<Record<string, unknown>>]>([
    ["no grids", { grids: [] }],
    ["more grids than any model", { grids: new Array(129).fill([1, 1]) }],
    ["a grid of one number", { grids: [[1]] }],
    ["a grid without rows", { grids: [[0, 1]] }],
    [
      "a grid of too many features",
      {
        grids: [
          [1, 1],
          [43, 1],
        ],
      },
    ],
    ["grids that are none", { grids: { length: 1 } }],
    ["a tile without pixels", { tile: 0 }],
    ["half a feature", { side: 0.5 }],
    ["no tiles at most", { max_tiles: 0 }],
    ["a word for a flag", { squares_several: "yes" }],
  ])("is refused with %s", (_, changes) => {
    expect(ruleProblem({ ...NEXT, ...changes })).toBeTypeOf("string");
  });
});
