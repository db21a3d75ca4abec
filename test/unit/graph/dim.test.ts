import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addDims, type Dim, dimNames, evaluateDim, multiplyDims } from "../../../src/graph/dim.ts";

const sizes = { batch: 3, seq: 19, past: 989 };
const dim: fc.Arbitrary<Dim> = fc.letrec<{ dim: Dim }>(tie => ({
  dim: fc.oneof(
    { maxDepth: 3 },
    fc.integer({ min: 0, max: 50 }),
    fc.constantFrom("batch", "seq", "past"),
    fc.tuple(tie("dim"), tie("dim")).map(([a, b]) => addDims(a, b)),
    fc.tuple(tie("dim"), tie("dim")).map(([a, b]) => multiplyDims(a, b)),
  ),
})).dim;

describe("symbolic dimensions", () => {
  it("add and multiply like the numbers they stand for", () => {
    fc.assert(
      fc.property(dim, dim, (a, b) => {
        expect(evaluateDim(addDims(a, b), sizes)).toBe(evaluateDim(a, sizes) + evaluateDim(b, sizes));
        expect(evaluateDim(multiplyDims(a, b), sizes)).toBe(evaluateDim(a, sizes) * evaluateDim(b, sizes));
      }),
    );
  });

  it("have one text for one size, whatever the order of the sum", () => {
    expect(addDims("past", "seq")).toBe("past + seq");
    expect(addDims(addDims("seq", 2), "past")).toBe("past + seq + 2");
    expect(multiplyDims(addDims("seq", 1), addDims("batch", 1))).toBe("batch + batch*seq + seq + 1");
    expect(addDims("seq", "seq")).toBe("2*seq");
  });

  it("become plain numbers when nothing symbolic is left", () => {
    expect(multiplyDims("seq", 0)).toBe(0);
    expect(addDims(7, 12)).toBe(19);
  });

  it("name what they are made of and refuse a name without a size", () => {
    expect([...dimNames("batch*seq + past + 2")].sort()).toEqual(["batch", "past", "seq"]);
    expect(() => evaluateDim("rows + 1", sizes)).toThrow(/rows/);
  });
});
