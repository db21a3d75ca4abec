import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DecoderCalls } from "../../src/runtime/calls.ts";
import { DecodingRows } from "../../src/runtime/decoding.ts";
import type { KvCache } from "../../src/runtime/kv-cache.ts";
import { BlockIndex, type Lease } from "../../src/runtime/reuse/block-index.ts";
import { HostBlocks, PageBlocks } from "../../src/runtime/reuse/block-store.ts";
import { PrefixCache } from "../../src/runtime/reuse/prefix-cache.ts";
import { chainConfig, chainGraph } from "../support/chain-graph.ts";

/** What the index should do, told by looking at everything every time. */
class NaiveIndex {
  readonly capacity: number;
  readonly entries = new Map<string, { block: number; depth: number; users: number; used: number }>();
  #time = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  known(keys: readonly string[]): number {
    let length = 0;
    while (length < keys.length && this.entries.has(keys.slice(0, length + 1).join("/"))) length += 1;
    return length;
  }

  use(keys: readonly string[]): void {
    for (const path of paths(keys)) this.#at(path).users += 1;
  }

  /** The path that gives way to another; undefined where there is room, null where all are in use. */
  victim(): string | null | undefined {
    if (this.entries.size < this.capacity) return undefined;
    const idle = [...this.entries].filter(([, { users }]) => users === 0);
    idle.sort(([, a], [, b]) => a.used - b.used || b.depth - a.depth);
    return idle[0]?.[0] ?? null;
  }

  release(keys: readonly string[]): void {
    this.#time += 1;
    for (const path of paths(keys)) {
      const entry = this.#at(path);
      entry.users -= 1;
      entry.used = this.#time;
    }
  }

  blocks(keys: readonly string[]): number[] {
    return paths(keys).map(path => this.#at(path).block);
  }

  #at(path: string): { block: number; depth: number; users: number; used: number } {
    const entry = this.entries.get(path);
    if (entry === undefined) throw new Error(`the model has no ${path}`);
    return entry;
  }
}

function paths(keys: readonly string[]): string[] {
  return keys.map((_, i) => keys.slice(0, i + 1).join("/"));
}

const KEYS = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 5 });

describe("BlockIndex", () => {
  it("does what a model does that looks at everything every time, with any leases open at once", () => {
    const actions = fc.array(fc.record({ keys: KEYS, releases: fc.nat(4) }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(fc.nat(6), actions, (capacity, steps) => {
        const index = new BlockIndex(capacity);
        const naive = new NaiveIndex(capacity);
        const open: { readonly lease: Lease; readonly keys: string[] }[] = [];
        for (const { keys, releases } of steps) {
          const lease = index.lookup(keys);
          const held = keys.slice(0, naive.known(keys));
          naive.use(held);
          expect(lease.blocks).toEqual(naive.blocks(held));
          for (const key of keys.slice(held.length)) {
            const place = extend(index, naive, lease, held, key);
            if (!place) break;
          }
          open.push({ lease, keys: held });
          for (const { lease: old, keys: chain } of open.splice(0, releases)) {
            expect(old.length).toBe(chain.length);
            index.release(old);
            naive.release(chain);
          }
          const numbers = [...naive.entries.values()].map(({ block }) => block);
          expect(new Set(numbers).size).toBe(numbers.length);
          expect(numbers.every(block => block >= 0 && block < capacity)).toBe(true);
          expect(index.size).toBe(naive.entries.size);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("gives up the end of a chain before its beginning, and what is in use never", () => {
    const index = new BlockIndex(3);
    const chain = index.lookup([]);
    for (const key of ["a", "b", "c"]) expect(index.extend(chain, key)).toMatchObject({ isNew: true });
    const other = index.lookup([]);
    expect(index.extend(other, "x")).toBeUndefined();
    index.release(chain);
    expect(index.extend(other, "x")).toEqual({ block: 2, isNew: true });
    expect([index.size, index.evicted]).toEqual([3, 1]);
    index.release(other);
    expect(index.lookup(["a", "b", "c"]).blocks).toEqual([0, 1]);
  });
});

/** One more block in both; false where there is no room. */
function extend(index: BlockIndex, naive: NaiveIndex, lease: Lease, held: string[], key: string): boolean {
  const path = [...held, key].join("/");
  const victim = naive.victim();
  const freed = typeof victim === "string" ? naive.entries.get(victim)?.block : undefined;
  const place = index.extend(lease, key);
  if (victim === null) {
    expect(place).toBeUndefined();
    return false;
  }
  expect(place?.isNew).toBe(true);
  if (freed !== undefined) expect(place?.block).toBe(freed);
  if (victim !== undefined) naive.entries.delete(victim);
  naive.entries.set(path, { block: place?.block ?? -1, depth: held.length, users: 1, used: 0 });
  held.push(key);
  return true;
}

/** Numbers of every layer, for comparison by value. */
function contents(cache: KvCache): number[][] {
  return cache.parts().map(({ data }) => Array.from(data));
}

const PROMPT = fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 21 });

describe("a prefill that reuses blocks", () => {
  it.each(["continuous", "static"] as const)(
    "gives the cache and the logits of one without, for any prompts, block, piece, budget and batch (%s)",
    async kind => {
      const requests = fc.array(fc.array(PROMPT, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 });
      const sizes = fc.record({
        tokens: fc.constantFrom(1, 2, 4),
        chunk: fc.integer({ min: 1, max: 5 }),
        most: fc.nat(7),
      });
      await fc.assert(
        fc.asyncProperty(requests, sizes, async (batches, { tokens, chunk, most }) => {
          const config = chainConfig({ kind, capacity: 24, tokens });
          const graph = chainGraph();
          const store = new HostBlocks(config.io, tokens);
          const budget = most * store.bytes + store.bytes - 1;
          const prefixes = new PrefixCache(store, budget, 2);
          for (const prompts of batches) {
            const calls = new DecoderCalls(graph, config, () => ({}));
            const reused = await prefixes.prefill(calls, prompts, undefined, chunk);
            const plain = DecodingRows.empty(calls, prompts.length);
            await plain.append(prompts, Number.POSITIVE_INFINITY);
            expect(Array.from(reused.logits)).toEqual(Array.from(plain.logits));
            if (kind === "continuous") expect(contents(reused.cache)).toEqual(contents(plain.cache));
            expect(prefixes.stats.bytes).toBeLessThanOrEqual(budget);
            const next = prompts.map((_, row) => row % 2);
            await Promise.all([reused.step(next), plain.step(next)]);
            expect(Array.from(reused.logits)).toEqual(Array.from(plain.logits));
          }
        }),
        { numRuns: 120 },
      );
    },
  );

  it("shares pages between requests that are open at once, whichever goes on, splits into beams or ends first", async () => {
    const request = fc.record({
      prompts: fc.array(PROMPT, { minLength: 1, maxLength: 3 }),
      beams: fc.option(fc.array(fc.nat(2), { minLength: 1, maxLength: 4 }), { nil: undefined }),
      steps: fc.nat(5),
      ends: fc.nat(3),
    });
    const sizes = fc.record({
      tokens: fc.constantFrom(1, 2, 4),
      chunk: fc.integer({ min: 1, max: 5 }),
      most: fc.nat(7),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 8 }), sizes, async (requests, size) => {
        const { tokens, chunk, most } = size;
        const config = chainConfig({ kind: "paged", capacity: 32, tokens });
        const graph = chainGraph();
        const store = new PageBlocks(graph, config.io, tokens);
        const prefixes = new PrefixCache(store, most * store.bytes + store.bytes - 1, 2);
        const open: { readonly reused: DecodingRows; readonly plain: DecodingRows }[] = [];
        for (const { prompts, beams, steps, ends } of requests) {
          const calls = new DecoderCalls(graph, config, () => ({}));
          const reused = await prefixes.prefill(calls, prompts, undefined, chunk);
          const plain = DecodingRows.empty(calls, prompts.length);
          await plain.append(prompts, Number.POSITIVE_INFINITY);
          open.push({ reused, plain });
          if (beams !== undefined)
            for (const one of [reused, plain]) one.select(beams.map(beam => beam % prompts.length));
          // All that are open go on by turns, so that one's writes would be seen in another's pages.
          for (let step = 0; step < steps; step++) {
            const all = open.flatMap(({ reused, plain }) => [reused, plain]);
            await Promise.all(all.map(one => one.step(Array.from({ length: one.rows }, (_, row) => (row + step) % 2))));
          }
          for (const one of open) expect(Array.from(one.reused.logits)).toEqual(Array.from(one.plain.logits));
          for (const one of open.splice(0, ends)) one.reused.close();
          expect(prefixes.stats.blocks).toBeLessThanOrEqual(most);
        }
        for (const { reused } of open) reused.close();
        expect(store.pages).toBe(prefixes.stats.blocks);
      }),
      { numRuns: 150 },
    );
  });

  it("holds what two requests share in one page each, and gives pages back when a call fails", async () => {
    const config = chainConfig({ kind: "paged", capacity: 24, tokens: 4 });
    const graph = chainGraph();
    const store = new PageBlocks(graph, config.io, 4);
    const prefixes = new PrefixCache(store, 8 * store.bytes, 2);
    const shared = [0, 1, 0, 1, 1, 1, 0, 0];
    const run = (over: typeof graph): Promise<DecodingRows> =>
      prefixes.prefill(
        new DecoderCalls(over, config, () => ({})),
        [
          [...shared, 1, 0],
          [...shared, 0, 1],
        ],
        undefined,
        4,
      );
    const [first, second] = [await run(graph), await run(graph)];
    // Two pages of what is shared, and one for the end of each row.
    expect(store.pages).toBe(2 + 4);
    let calls = 0;
    const failing = {
      ...graph,
      run: (...given: Parameters<typeof graph.run>) =>
        ++calls === 2 ? Promise.reject(new Error("out of memory")) : graph.run(...given),
    };
    await expect(run(failing)).rejects.toThrow("out of memory");
    expect(store.pages).toBe(2 + 4);
    first.close();
    second.close();
    expect(store.pages).toBe(2);
  });

  it("computes what two prompts share once, within a batch and between batches", async () => {
    const config = chainConfig({ kind: "continuous", capacity: 24, tokens: 4 });
    const graph = chainGraph();
    const prefixes = new PrefixCache(new HostBlocks(config.io, 4), 1 << 20, 2);
    const run = (prompts: readonly number[][]): Promise<DecodingRows> =>
      prefixes.prefill(new DecoderCalls(graph, config, () => ({})), prompts, undefined, 4);
    const shared = [0, 1, 0, 1, 1, 1, 0, 0];
    expect((await run([[...shared, 1, 0], [...shared, 0, 1], [1]])).reusedTokens).toBe(8);
    // The ninth token is not left to a call of its own.
    expect((await run([[...shared, 1]])).reusedTokens).toBe(4);
    // A prompt that is known whole still has its last block computed, for the logits.
    expect((await run([shared])).reusedTokens).toBe(4);
    expect((await run([[...shared.slice(0, 7), 1, 1]])).reusedTokens).toBe(4);
    expect(prefixes.stats).toMatchObject({
      promptTokens: 10 + 10 + 1 + 9 + 8 + 9,
      reusedTokens: 20,
      blocks: 2,
      evicted: 0,
    });
  });

  it("leaves nothing in use when a call fails, and goes on from what was kept", async () => {
    const config = chainConfig({ kind: "continuous", capacity: 24, tokens: 2 });
    const graph = chainGraph();
    const prefixes = new PrefixCache(new HostBlocks(config.io, 2), 2 * new HostBlocks(config.io, 2).bytes, 2);
    let calls = 0;
    const failing = {
      ...graph,
      run: (feeds: Parameters<typeof graph.run>[0]) =>
        ++calls === 3 ? Promise.reject(new Error("out of memory")) : graph.run(feeds),
    };
    const begin = (over: typeof graph): DecoderCalls => new DecoderCalls(over, config, () => ({}));
    await expect(prefixes.prefill(begin(failing), [[0, 1, 1, 1, 0, 0]], undefined, 9)).rejects.toThrow("out of memory");
    expect((await prefixes.prefill(begin(graph), [[0, 1, 1, 1, 0, 0]], undefined, 9)).reusedTokens).toBe(4);
    // Both blocks may give way: none is held by the request that failed.
    await prefixes.prefill(begin(graph), [[1, 1, 1, 1, 1]], undefined, 9);
    expect(prefixes.stats).toMatchObject({ blocks: 2, evicted: 2 });
  });
});
