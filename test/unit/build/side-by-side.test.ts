import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mostAtOnce, sideBySide } from "../../../src/build/side-by-side.ts";

interface Job {
  readonly name: string;
  readonly cost: number;
}

/** Runs jobs that last `cost` turns of the event loop and tells what ran when. */
async function recorded(
  costs: readonly number[],
  workers: number,
  budget: number,
  stopAfter = Number.POSITIVE_INFINITY,
) {
  const jobs = costs.map((cost, i): Job => ({ name: `rank${i}`, cost }));
  const running = new Map<string, number>();
  const slots = new Set<number>();
  const seen = { order: [] as string[], most: 0, held: [] as (readonly [jobs: number, cost: number])[], slots: 0 };
  await sideBySide(
    jobs,
    { workers, budget },
    ({ cost }) => cost,
    async ({ name, cost }, slot) => {
      expect(slots.has(slot)).toBe(false);
      slots.add(slot);
      running.set(name, cost);
      seen.order.push(name);
      seen.slots = Math.max(seen.slots, slot + 1);
      seen.held.push([running.size, [...running.values()].reduce((sum, one) => sum + one, 0)]);
      for (let turn = 0; turn <= cost; turn++) await new Promise(resolve => setImmediate(resolve));
      running.delete(name);
      slots.delete(slot);
    },
    () => seen.order.length >= stopAfter,
  );
  return seen;
}

describe("side by side", () => {
  it("has as many jobs at once as fit the budget, never more than workers, and each job once", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 9 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 0, max: 40 }),
        async (costs, workers, budget) => {
          const { order, held, slots } = await recorded(costs, workers, budget);
          expect([...order].sort()).toEqual(costs.map((_, i) => `rank${i}`));
          expect(slots).toBeLessThanOrEqual(Math.max(0, Math.min(workers, costs.length)));
          for (const [jobs, cost] of held) expect(jobs === 1 || cost <= budget).toBe(true);
        },
      ),
      { numRuns: 60 },
    ));

  it("fills the room that is left beside a large job with a small one from further back", async () => {
    const { order, held } = await recorded([7, 6, 2], 3, 10);
    expect(order).toEqual(["rank0", "rank2", "rank1"]);
    expect(held[1]).toEqual([2, 9]);
  });

  it("is as many as there are workers without a budget", async () => {
    expect((await recorded([9, 9, 9, 9], 3, Number.POSITIVE_INFINITY)).held.map(([jobs]) => jobs)).toEqual([
      1, 2, 3, 3,
    ]);
  });

  it("starts nothing more once it is stopped, and waits for what runs", async () => {
    expect((await recorded([1, 1, 1, 1], 1, 9, 2)).order).toEqual(["rank0", "rank1"]);
  });

  it("says how many can run at once: the cheapest, at least one, at most the workers", () => {
    expect(mostAtOnce([5, 3, 1], { workers: 9, budget: 4 })).toBe(2);
    expect(mostAtOnce([5, 3, 1], { workers: 2, budget: 99 })).toBe(2);
    expect(mostAtOnce([5], { workers: 2, budget: 1 })).toBe(1);
    expect(mostAtOnce([1, 1, 1], { workers: 4, budget: Number.POSITIVE_INFINITY })).toBe(3);
  });
});
