import { describe, expect, it } from "vitest";
import { formatProblem } from "../../../src/diagnostics/index.ts";
import type { Rule } from "../../../src/rules/index.ts";
import { visualBatchHoldsImage, visualBatchHoldsPrompt } from "../../../src/rules/multimodal.ts";
import { llava, ruleContext } from "../../support/specs.ts";

/** Images of 4 to 400 features of 28 pixels: 16 to 1600 patches. */
const spec = {
  ...llava(),
  visualTokens: { kind: "patches", patch: 14, merge: 2, temporal_patch: 2, min_pixels: 3136, max_pixels: 784 * 400 },
} as const;

const said = (rule: Rule, build: object, of: Parameters<typeof ruleContext>[0]["spec"] = spec): string => {
  const problem = rule(ruleContext({ spec: of, build: { max_multimodal_len: 400, max_input_len: 512, ...build } }));
  return problem === undefined ? "" : formatProblem(problem);
};

describe("max_visual_batch of packed patches", () => {
  it("below the smallest image is an error, for the patches of an image are encoded in one call", () => {
    expect(said(visualBatchHoldsImage, { max_visual_batch: 15 })).toMatch(/BLD092.*less than the 16 patches/s);
    expect(said(visualBatchHoldsImage, { max_visual_batch: 16 })).toBe("");
    expect(said(visualBatchHoldsPrompt, { max_visual_batch: 15 })).toBe("");
  });

  it("below the largest image that a prompt holds is advice, with the sizes that fit", () => {
    const message = said(visualBatchHoldsPrompt, { max_visual_batch: 800 });
    expect(message).toMatch(/BLD092.*less than the 1600 patches.*1:1 up to \d+x\d+.*--max_visual_batch 1600/s);
    expect(said(visualBatchHoldsPrompt, { max_visual_batch: 1600 })).toBe("");
    expect(said(visualBatchHoldsPrompt, { max_visual_batch: 800, max_input_len: 200 })).toBe("");
    expect(said(visualBatchHoldsPrompt, { max_visual_batch: 796, max_input_len: 200 })).toMatch(/800 patches/);
  });

  it("of tiles and images is no matter of these rules", () => {
    for (const rule of [visualBatchHoldsImage, visualBatchHoldsPrompt])
      expect(said(rule, { max_visual_batch: 1 }, llava())).toBe("");
  });
});
