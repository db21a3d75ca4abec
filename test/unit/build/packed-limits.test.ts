import { describe, expect, it } from "vitest";
import { packedLimits } from "../../../src/build/packed-limits.ts";
import { type PatchesRule, packedInputs, tokenBounds } from "../../../src/vision/index.ts";

const rule = (change: Partial<PatchesRule> = {}): PatchesRule => ({
  ...{ kind: "patches", patch: 14, merge: 2, temporal_patch: 2, min_pixels: 3136, max_pixels: 784 * 400, window: 112 },
  ...change,
});

/** Windows of a picture of so many features, as the tables have them. */
function windowsOf(of: PatchesRule, rows: number, cols: number): number {
  const grid = { frames: 1, rows: rows * of.merge, cols: cols * of.merge };
  return (packedInputs(of, [grid]).windows?.cuSeqlens.length ?? 1) - 1;
}

describe("sizes of a call with packed patches", () => {
  it.each([
    ["Qwen2.5-VL's", rule()],
    ["windows of one feature", rule({ window: 28 })],
    ["pictures of one feature", rule({ min_pixels: 1 })],
    ["odd ones", rule({ patch: 3, merge: 3, min_pixels: 500, max_pixels: 81 * 400, window: 46 })],
  ])("hold every picture, and as many of the worst as fit: %s", (_, of) => {
    const least = tokenBounds(of).least.features;
    for (let rows = 1; rows <= 13; rows++)
      for (let cols = 1; cols <= 30; cols++) {
        const features = rows * cols;
        if (features < least || features > 400) continue;
        const windows = windowsOf(of, rows, cols);
        for (const pictures of [1, 7]) {
          const limits = packedLimits(of, pictures * features * of.merge ** 2);
          expect(limits.features).toBe(pictures * features);
          expect(limits.frames).toBeGreaterThanOrEqual(pictures);
          expect(limits.windows, `${pictures} pictures of ${rows} × ${cols}`).toBeGreaterThanOrEqual(
            pictures * windows,
          );
          expect(limits.windows).toBeLessThanOrEqual(limits.features);
        }
      }
  });

  it("are those of published sizes: far fewer windows than features", () => {
    const limits = packedLimits(rule({ max_pixels: 12_845_056 }), 16_384);
    expect(limits).toEqual({ features: 4096, frames: 1024, windows: Math.ceil(4096 * 0.4) });
  });
});
