import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { editDistance, nearest } from "../../../src/options/nearest.ts";

/** The definition, by recursion. */
function slowDistance(a: string, b: string): number {
  if (a === "" || b === "") return a.length + b.length;
  const rest = [
    slowDistance(a.slice(1), b) + 1,
    slowDistance(a, b.slice(1)) + 1,
    slowDistance(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1),
  ];
  if (a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0])
    rest.push(slowDistance(a.slice(2), b.slice(2)) + 1);
  return Math.min(...rest);
}

describe("the nearest name", () => {
  it("is by the fewest edits", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 });
    fc.assert(fc.property(word, word, (a, b) => editDistance(a, b) === slowDistance(a, b)));
  });

  it.each([
    ["max_batchsize", "max_batch_size"],
    ["max_bacth_size", "max_batch_size"],
    ["max_batch", "max_batch_size"],
    ["batch_size", "max_batch_size"],
    ["dytpe", "dtype"],
    ["xyz", undefined],
    ["", undefined],
    ["x".repeat(100_000), undefined],
  ])("to %s is %s", (word, name) => {
    expect(nearest(word, ["max_batch_size", "max_beam_width", "dtype", "tp_size"])).toBe(name);
  });
});
