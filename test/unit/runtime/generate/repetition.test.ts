import { expect, it } from "vitest";
import { isRepeating } from "../../../../src/runtime/generate/repetition.ts";

const copies = (block: readonly number[], times: number): number[] => Array.from({ length: times }, () => block).flat();

it("sees one token for ever, from the 64th on", () => {
  expect(isRepeating([1, 2, 3, ...copies([7], 63)])).toBe(false);
  expect(isRepeating([1, 2, 3, ...copies([7], 64)])).toBe(true);
});

it("sees a block of 19 tokens in its fourth copy, also when it ends in the middle of one", () => {
  const block = Array.from({ length: 19 }, (_, i) => i * i);
  expect(isRepeating([5, ...copies(block, 4).slice(0, -1)])).toBe(false);
  expect(isRepeating([5, ...copies(block, 4)])).toBe(true);
  expect(isRepeating([5, ...copies(block, 4), ...block.slice(0, 7)])).toBe(true);
});

it("lets three copies, and a change in the last one, pass", () => {
  const block = Array.from({ length: 101 }, (_, i) => i);
  expect(isRepeating(copies(block, 3))).toBe(false);
  expect(isRepeating([...copies(block, 4).slice(0, -1), 989])).toBe(false);
});
