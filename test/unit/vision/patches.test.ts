import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  inWindowOrder,
  type PatchesRule,
  type PatchGrid,
  packedInputs,
  promptPieces,
  resizedForPatches,
  ruleProblem,
  sizeProblem,
  tokenBounds,
  tokensOf,
  unitsOf,
  visualUnit,
} from "../../../src/vision/index.ts";

interface Fixtures {
  readonly sizes: readonly {
    readonly settings: Pick<PatchesRule, "patch" | "merge" | "min_pixels" | "max_pixels">;
    readonly images: readonly (readonly [number, number, number, number])[];
  }[];
  readonly packed: readonly {
    readonly merge: number;
    readonly patch: number;
    readonly window: number;
    readonly side: number;
    readonly grids: readonly (readonly [number, number, number])[];
    readonly positions: readonly (readonly number[])[];
    readonly cu_seqlens: readonly number[];
    readonly window_index: readonly number[];
    readonly cu_window_seqlens: readonly number[];
    readonly table_rows: readonly (readonly number[])[];
    readonly table_weights: readonly (readonly number[])[];
  }[];
}

const { sizes, packed } = JSON.parse(readFileSync("test/fixtures/vision/patches.json", "utf8")) as Fixtures;

function rule(settings: Partial<PatchesRule> = {}): PatchesRule {
  return {
    kind: "patches",
    patch: 14,
    merge: 2,
    temporal_patch: 2,
    min_pixels: 3136,
    max_pixels: 1003520,
    ...settings,
  };
}

describe("Images of any shape, cut into patches", () => {
  for (const { settings, images } of sizes) {
    it(`are resized as transformers does, for ${settings.patch} × ${settings.merge} pixels and ${settings.min_pixels} to ${settings.max_pixels}`, () => {
      const ours = images.map(([height, width]) => {
        const resized = resizedForPatches(settings, { height, width });
        return [height, width, resized.height, resized.width];
      });
      expect(ours).toEqual(images);
    });
  }

  it("bring a feature for merge × merge patches, and no markers", () => {
    const image = tokensOf(rule(), { height: 333, width: 500 });
    expect(image).toEqual({ tiles: 1, grid: { rows: 24, cols: 36 }, patches: 864, features: 216, tokens: 216 });
    expect(promptPieces(rule(), image)).toEqual([{ features: 216 }]);
    expect([visualUnit(rule()), unitsOf(rule(), image)]).toEqual(["patches", 864]);
  });

  it("bring at least and at most what the bounds say, whatever their size", () => {
    const rules = [
      rule(),
      ...sizes.map(({ settings }) => rule(settings)),
      rule({ patch: 1, merge: 1, min_pixels: 7, max_pixels: 19 }),
    ];
    const side = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 9000 }));
    fc.assert(
      fc.property(fc.constantFrom(...rules), side, side, (one, height, width) => {
        if (sizeProblem(one, { height, width }) !== undefined) return;
        const { features } = tokensOf(one, { height, width });
        const { least, most } = tokenBounds(one);
        expect(features).toBeGreaterThanOrEqual(least.features);
        expect(features).toBeLessThanOrEqual(most.features);
      }),
      { numRuns: 2000, seed: 12 },
    );
  });

  it("have bounds that images reach", () => {
    const seen = new Map<PatchesRule, Set<number>>();
    const rules = [
      rule({ patch: 1, merge: 2, min_pixels: 40, max_pixels: 300 }),
      rule({ patch: 2, merge: 1, min_pixels: 1, max_pixels: 4000 }),
    ];
    for (const one of rules) {
      const features = new Set<number>();
      for (let height = 1; height <= 120; height++)
        for (let width = height; width <= Math.min(200 * height, 1700); width++)
          features.add(tokensOf(one, { height, width }).features);
      seen.set(one, features);
    }
    for (const [one, features] of seen) {
      const { least, most } = tokenBounds(one);
      expect([Math.min(...features), Math.max(...features)]).toEqual([least.features, most.features]);
    }
  });

  it("of published models bring as many as their papers say", () => {
    expect(tokenBounds(rule({ max_pixels: 12845056 }))).toMatchObject({
      least: { features: 4 },
      most: { features: 16384 },
    });
    const qwen3 = rule({ patch: 16, min_pixels: 65536, max_pixels: 16777216 });
    expect(tokenBounds(qwen3)).toMatchObject({ least: { features: 64 }, most: { features: 16384, patches: 65536 } });
  });

  it("are refused where one side is more than 200 times the other", () => {
    expect(sizeProblem(rule(), { height: 1, width: 201 })).toBe(
      "its sides are as 1 to 201.0; expected at most 1 to 200",
    );
    expect(sizeProblem(rule(), { height: 200, width: 1 })).toBeUndefined();
  });

  it("have rules that a file may get wrong", () => {
    expect(ruleProblem(rule({ window: 112, table_side: 48 }))).toBeUndefined();
    expect(ruleProblem(rule({ merge: 0 }))).toMatch(/^patch, merge/);
    expect(ruleProblem(rule({ table_side: 1.5 }))).toMatch(/^window and table_side/);
    expect(ruleProblem(rule({ min_pixels: 2e6 }))).toMatch(/^max_pixels 1003520 is less than min_pixels/);
    expect(ruleProblem(rule({ min_pixels: 1, max_pixels: 783 }))).toMatch(/feature's 28 × 28/);
    expect(ruleProblem(rule({ window: 27 }))).toBe("window 27 holds no feature of 28 pixels");
  });
});

describe("Packed patches of several pictures", () => {
  for (const { merge, patch, window, side, grids, ...expected } of packed) {
    const given: readonly PatchGrid[] = grids.map(([frames, rows, cols]) => ({ frames, rows, cols }));
    const name = grids.map(grid => grid.join(" × ")).join(", ");

    it(`have transformers' positions, segments and table entries, for ${name}`, () => {
      const { positions, cuSeqlens, table, windows } = packedInputs({ patch, merge, table_side: side }, given);
      expect([...positions]).toEqual(expected.positions.flat());
      expect([...cuSeqlens]).toEqual(expected.cu_seqlens);
      expect([...(table?.rows ?? [])]).toEqual(expected.table_rows.flat());
      expect(table?.weights).toEqual(Float32Array.from(expected.table_weights.flat()));
      expect(windows).toBeUndefined();
    });

    it(`lie in transformers' windows, for ${name}`, () => {
      const plain = packedInputs({ patch, merge, table_side: side }, given);
      const { windows, ...ordered } = packedInputs({ patch, merge, window, table_side: side }, given);
      if (windows === undefined) throw new Error("no windows");
      expect([...windows.index]).toEqual(expected.window_index);
      expect([...windows.cuSeqlens]).toEqual(expected.cu_window_seqlens);
      expect([...windows.index].map(feature => windows.order[feature])).toEqual(expected.window_index.map((_, i) => i));
      const group = merge * merge;
      const moved = expected.window_index.flatMap(feature =>
        expected.positions.slice(feature * group, (feature + 1) * group),
      );
      expect([...ordered.positions]).toEqual(moved.flat());
      expect(ordered.cuSeqlens).toEqual(plain.cuSeqlens);
      const back = inWindowOrder(ordered.table?.weights ?? new Float32Array(0), 4 * group, windows.order);
      expect(back).toEqual(plain.table?.weights);
    });
  }
});
