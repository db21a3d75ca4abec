import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Pages } from "../../../src/runtime/page-pool.ts";
import { BlockTable } from "../../../src/runtime/paged-cache.ts";

const rowsOf = (table: BlockTable, rows: number): number[][] => {
  const { data, width } = table.table();
  return Array.from({ length: rows }, (_, row) => [...data.subarray(row * width, (row + 1) * width)]);
};

describe("the blocks of a paged cache", () => {
  it("are taken as tokens come, and block 0 is nobody's", () => {
    const pages = new Pages();
    const table = new BlockTable(2, 16, pages);
    expect(table.reserve(0, 0, 19)).toEqual([]);
    expect(table.reserve(1, 0, 1)).toEqual([]);
    expect(rowsOf(table, 2)).toEqual([
      [1, 2],
      [3, 0],
    ]);
    expect(table.reserve(0, 19, 13)).toEqual([]);
    expect(pages.count).toBe(4);
    table.reserve(0, 32, 1);
    expect(rowsOf(table, 2)[0]).toEqual([1, 2, 4]);
  });

  it("are shared by beams until one writes, which copies that block alone; what nobody has is taken again", () => {
    const pages = new Pages();
    const table = new BlockTable(1, 8, pages);
    table.reserve(0, 0, 11);
    table.select([0, 0]);
    expect(table.reserve(0, 11, 1)).toEqual([{ from: 2, to: 3 }]);
    expect(table.reserve(1, 11, 1)).toEqual([]);
    expect(rowsOf(table, 2)).toEqual([
      [1, 3],
      [1, 2],
    ]);
    table.select([1]);
    table.reserve(0, 16, 1);
    expect(rowsOf(table, 1)).toEqual([[1, 2, 3]]);
    expect(pages.count).toBe(4);
  });

  it("hold what each row has written, however rows are chosen", () => {
    const step = fc.oneof(
      fc.record({ append: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 4, maxLength: 4 }) }),
      fc.record({ select: fc.array(fc.nat({ max: 99 }), { minLength: 1, maxLength: 4 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.constantFrom(1, 3, 8), (steps, tokens) => {
        const table = new BlockTable(2, tokens, new Pages());
        const pool = new Map<string, number>();
        let texts: number[][] = [[], []];
        let next = 0;
        for (const one of steps) {
          if ("select" in one) {
            const rows = one.select.map(row => row % texts.length);
            table.select(rows);
            texts = rows.map(row => [...(texts[row] as number[])]);
            continue;
          }
          for (const [row, text] of texts.entries()) {
            const count = one.append[row] as number;
            for (const { from, to } of table.reserve(row, text.length, count))
              for (let slot = 0; slot < tokens; slot++) pool.set(`${to}.${slot}`, pool.get(`${from}.${slot}`) ?? -1);
            const { data, width } = table.table();
            for (let i = 0; i < count; i++) {
              const block = data[row * width + Math.floor(text.length / tokens)] as number;
              expect(block).toBeGreaterThan(0);
              pool.set(`${block}.${text.length % tokens}`, next);
              text.push(next++);
            }
          }
        }
        const { data, width } = table.table();
        for (const [row, text] of texts.entries())
          for (const [at, token] of text.entries())
            expect(pool.get(`${data[row * width + Math.floor(at / tokens)]}.${at % tokens}`)).toBe(token);
      }),
    );
  });
});
