import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cutsSpan, pieceLengths, spansLeft } from "../../../src/runtime/spans.ts";

const io = [{ name: "visual_spans", kind: "input", dtype: "int32", shape: [-1, -1], dims: ["batch", "seq"] }] as const;

describe("tokens that see each other both ways", () => {
  it("are those of each image: how many are left of it, itself counted", () => {
    const prompts = [[5, 10, 11, 12, 6, 13, 14, 15], [7], [16, 17]];
    expect(spansLeft({ io }, prompts, 10)).toEqual([[0, 3, 2, 1, 0, 3, 2, 1], [0], [2, 1]]);
  });

  it("are all of a prompt where the decoder says so", () => {
    expect(spansLeft({ io, spans: "prompt" }, [[5, 10, 6], [7], []], 10)).toEqual([[3, 2, 1], [1], []]);
  });

  it("are nobody's business where the decoder has no such input", () => {
    expect(spansLeft({ io: [] }, [[10]], 10)).toBeUndefined();
  });

  it("come in one call: a piece ends before an image that it has no room for", () => {
    const left = [0, 0, 3, 2, 1, 0, 0, 0, 0];
    const cuts = (column: number): boolean => cutsSpan(left, column);
    expect(pieceLengths(9, 4, cuts)).toEqual([2, 4, 3]);
    expect(pieceLengths(9, 3, cuts)).toEqual([2, 3, 2, 2]);
    expect(() => pieceLengths(9, 2, cuts)).toThrow(
      /RUN010.*tokens from 3 of the prompt on.*more than the 2 of a call/s,
    );
  });

  it("are never cut, and every token comes once", () => {
    const runs = fc.array(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 19 });
    fc.assert(
      fc.property(runs, fc.integer({ min: 7, max: 11 }), (lengths, most) => {
        const left = lengths.flatMap(length => [0, ...Array.from({ length }, (_, i) => length - i)]);
        const pieces = pieceLengths(left.length, most, column => cutsSpan(left, column));
        const ends = pieces.map((_, i) => pieces.slice(0, i + 1).reduce((sum, piece) => sum + piece, 0));
        expect(ends.at(-1)).toBe(left.length);
        expect(Math.max(...pieces)).toBeLessThanOrEqual(most);
        // Before the end of an image stands a token with more than itself left.
        for (const end of ends.slice(0, -1)) expect(left[end - 1]).toBeLessThanOrEqual(1);
      }),
    );
  });
});
