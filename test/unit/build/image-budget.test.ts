import { describe, expect, it } from "vitest";
import { budgetOf } from "../../../src/build/image-budget.ts";
import { fittingSizes, parseSize, showSize, tokensOf, type VisualTokenRule } from "../../../src/vision/index.ts";

/** SmolVLM 256M's. */
const TILES: VisualTokenRule = {
  kind: "longest_edge_tiles",
  longest_edge: 2048,
  tile: 512,
  splits: true,
  features_per_tile: 64,
  patches_per_tile: 1024,
};
const LIMITS = { max_batch_size: 3, max_input_len: 1024, max_multimodal_len: 2600, max_visual_batch: 5 };

describe("A budget of images", () => {
  it("counts tiles, features and tokens of each, and what a batch of them needs", () => {
    const sizes = ["1280x720", "480x2000"].map(text => parseSize(text)).filter(size => size !== undefined);
    const budget = budgetOf(TILES, sizes, LIMITS);
    expect(budget.unit).toBe("tiles");
    expect(budget.images).toMatchObject([
      {
        image: "1280x720",
        tiles: 13,
        grid: { rows: 3, cols: 4 },
        features: 832,
        tokens: 862,
        batch: 3,
        visual_calls: 3,
      },
      {
        image: "480x2000",
        tiles: 5,
        grid: { rows: 4, cols: 1 },
        features: 320,
        tokens: 335,
        batch: 3,
        visual_calls: 1,
      },
    ]);
    expect(budget.rows).toEqual({ together: 1152, full_batch: 3 * 832, any: 3 * 1088 });
    expect(budget.longest).toBe(862);
  });

  it("tells which images fit in a full batch, and how many of one that does not", () => {
    const [square] = budgetOf(TILES, [{ height: 989, width: 989 }], { ...LIMITS, max_input_len: 1536 }).images;
    expect(square).toMatchObject({ tokens: 1127, batch: 2 });
    const [long] = budgetOf(TILES, [{ height: 989, width: 989 }], LIMITS).images;
    expect(long?.batch).toBe(0);
    const fitting = Object.fromEntries(
      budgetOf(TILES, [{ height: 1, width: 1 }], LIMITS).fitting.map(({ shape, kind }) => [shape, kind]),
    );
    // Of SmolVLM the shape alone counts: every image is made as large as it may be.
    expect(fitting).toMatchObject({ "1:1": "none", "4:3": "all", "16:9": "all", "4:1": "all" });
  });
});

describe("A budget of images in grids", () => {
  const grids: VisualTokenRule = { kind: "anyres", tile: 20, side: 4, grids: [[1, 2]], squares_several: true };

  it("tells what each of several images in a prompt brings, where that differs", () => {
    const size = [{ width: 40, height: 10 }];
    const budget = budgetOf(grids, size, LIMITS);
    // 2 of 4 rows of 8 and a newline lie within the image, behind the whole of 16.
    expect(budget.images).toMatchObject([{ tiles: 3, features: 16 + 2 * 9, tokens: 34 }]);
    expect(budget.beside).toMatchObject({ tiles: 1, features: 17 });
    expect(budgetOf({ ...grids, squares_several: false }, size, LIMITS).beside).toBeUndefined();
  });
});

describe("A budget of packed patches", () => {
  const patches: VisualTokenRule = {
    ...{ kind: "patches", patch: 14, merge: 2, temporal_patch: 2, min_pixels: 3136, max_pixels: 12_845_056 },
  };
  const limits = { max_batch_size: 1, max_input_len: 2000, max_multimodal_len: 2000, max_visual_batch: 4000 };

  it("takes no image of more patches than a call of the visual engine, which no image is parted for", () => {
    const sizes = ["1280x720", "640x480"].map(text => parseSize(text)).filter(size => size !== undefined);
    const budget = budgetOf(patches, sizes, limits);
    expect(budget.unit).toBe("patches");
    expect(budget.images).toMatchObject([
      { patches: 4784, grid: { rows: 52, cols: 92 }, features: 1196, tokens: 1196, batch: 0 },
      { patches: 1564, grid: { rows: 34, cols: 46 }, features: 391, tokens: 391, batch: 1, visual_calls: 1 },
    ]);
    const square = budget.fitting.find(({ shape }) => shape === "1:1");
    if (square?.kind !== "up_to") throw new Error("squares of some sizes");
    expect(tokensOf(patches, square.size).patches).toBeLessThanOrEqual(4000);
    const next = { height: square.size.height + 32, width: square.size.width + 32 };
    expect(tokensOf(patches, next).patches).toBeGreaterThan(4000);
  });
});

describe("The inverse of a rule", () => {
  it("holds for every size up to the one it names, and for none of the next", () => {
    const budget = { features: 600, tokens: 640 };
    for (const ratio of [1, 16 / 9, 1 / 3, 4]) {
      const fits = fittingSizes(TILES, ratio, budget);
      const tokens = tokensOf(TILES, { width: Math.round(900 * ratio), height: 900 });
      expect(fits.kind).toBe(tokens.features <= 600 && tokens.tokens <= 640 ? "all" : "none");
    }
  });

  it("finds the largest size where tokens grow with it", () => {
    const whole: VisualTokenRule = {
      ...TILES,
      kind: "aspect_ratio_tiles",
      min_tiles: 1,
      max_tiles: 12,
    } as VisualTokenRule;
    const fits = fittingSizes(whole, 1, { features: 5 * 64, tokens: 5 * 64 + 2 });
    expect(fits.kind).toBe("up_to");
    if (fits.kind !== "up_to") return;
    expect(tokensOf(whole, fits.size).features).toBeLessThanOrEqual(320);
    const next = fits.size.width + 32;
    expect(tokensOf(whole, { width: next, height: next }).features).toBeGreaterThan(320);
  });
});

describe("A size", () => {
  it("is width by height, and comes back as it was written", () => {
    expect(parseSize("1280x720")).toEqual({ width: 1280, height: 720 });
    expect(parseSize(" 19×7 ")).toEqual({ width: 19, height: 7 });
    expect(showSize({ width: 1280, height: 720 })).toBe("1280x720");
  });

  it.each(["", "1280", "0x7", "7x0", "1280x720x3", "-1x7", "65536x1", "1e3x2", "ax7"])("%s is none", text => {
    expect(parseSize(text)).toBeUndefined();
  });
});
