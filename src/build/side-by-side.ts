/** Work that holds some of a shared amount (bytes of memory) while it runs. */
export interface Sharing {
  /** Jobs at the same time. */
  readonly workers: number;
  /** What jobs may hold together; Infinity where nobody limits it. */
  readonly budget: number;
}

/**
 * Runs jobs side by side, the first that fits as soon as there is a slot and room for it. A job that alone is larger than the
 * budget runs with nothing beside it, so that the work always ends. `work` must not throw; `stopped` ends the starting.
 */
export async function sideBySide<T>(
  jobs: readonly T[],
  { workers, budget }: Sharing,
  costOf: (job: T) => number,
  work: (job: T, slot: number) => Promise<void>,
  stopped: () => boolean,
): Promise<void> {
  const waiting = [...jobs];
  const running = new Map<number, { readonly cost: number; readonly end: Promise<void> }>();
  const held = (): number => [...running.values()].reduce((sum, { cost }) => sum + cost, 0);
  const freeSlot = (): number => {
    for (let slot = 0; ; slot++) if (!running.has(slot)) return slot;
  };
  for (;;) {
    while (!stopped() && running.size < workers) {
      const next = waiting.findIndex(job => running.size === 0 || held() + costOf(job) <= budget);
      const [job] = next < 0 ? [] : waiting.splice(next, 1);
      if (job === undefined) break;
      const slot = freeSlot();
      const end = work(job, slot).finally(() => running.delete(slot));
      running.set(slot, { cost: costOf(job), end });
    }
    if (running.size === 0) return;
    await Promise.race([...running.values()].map(({ end }) => end));
  }
}

/** How many jobs can run at once at most: the cheapest ones together. */
export function mostAtOnce(costs: readonly number[], { workers, budget }: Sharing): number {
  let left = budget;
  let count = 0;
  for (const cost of [...costs].sort((a, b) => a - b)) {
    left -= cost;
    if (left < 0) break;
    count++;
  }
  return Math.max(1, Math.min(workers, count));
}
