import { expect, it } from "vitest";
import { bucketTable } from "../../../src/layers/relative-bias.ts";

const BIDIRECTIONAL = [
  5, 5, 5, 5, 5, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 2, 1, 0, 7, 8, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11, 11, 11,
];
const CAUSAL = [
  11, 11, 11, 10, 10, 9, 9, 8, 8, 7, 6, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/** From torch, by T5Attention._relative_position_bucket of transformers 5.17 over −maxDistance … maxDistance. */
it("has transformers' bucket of every distance, both ways", () => {
  const table = [...bucketTable({ buckets: 12, maxDistance: 17, bidirectional: true })];
  expect(table).toEqual(BIDIRECTIONAL);
});

it("has transformers' bucket of every distance backwards, and bucket 0 for what follows the query", () => {
  const table = [...bucketTable({ buckets: 12, maxDistance: 17, bidirectional: false })];
  expect(table).toEqual(CAUSAL);
});

it("counts distances on the border of two buckets as transformers does with T5's own 32 and 128", () => {
  const { length, ...table } = bucketTable({ buckets: 32, maxDistance: 128, bidirectional: true });
  expect(length).toBe(257);
  expect([8, 16, 32, 64, 128].map(distance => table[128 - distance])).toEqual([8, 10, 12, 14, 15]);
  expect([8, 16, 32, 64, 128].map(distance => table[128 + distance])).toEqual([24, 26, 28, 30, 31]);
});
