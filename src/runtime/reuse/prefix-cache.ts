import type { DecoderCalls } from "../calls.ts";
import { DecodingRows } from "../decoding.ts";
import type { KvCache } from "../kv-cache.ts";
import { type PromptMarks, sliceMarks } from "../marks.ts";
import type { Features } from "../prompt-table.ts";
import { cutsSpan, type SpansLeft } from "../spans.ts";
import { BlockIndex, type Lease } from "./block-index.ts";
import type { BlockStore } from "./block-store.ts";
import { BlockKeys } from "./keys.ts";

/** Since the session was opened; tokens are those of prompts. */
export interface ReuseStats {
  readonly promptTokens: number;
  /** Of these, tokens whose keys and values were known. */
  readonly reusedTokens: number;
  /** Blocks kept now, and the most there may be. */
  readonly blocks: number;
  readonly capacity: number;
  /** Bytes of the blocks kept now. */
  readonly bytes: number;
  /** Blocks that gave way to others. */
  readonly evicted: number;
}

/** Keys and values of the beginnings of prompts, kept from request to request within a budget of bytes. */
export class PrefixCache {
  readonly #index: BlockIndex;
  readonly #store: BlockStore<KvCache>;
  readonly #vocabSize: number;
  #promptTokens = 0;
  #reusedTokens = 0;

  /** @param vocabSize ids from here on are rows of the prompt table. */
  constructor(store: BlockStore<KvCache>, budget: number, vocabSize: number) {
    this.#store = store;
    this.#vocabSize = vocabSize;
    this.#index = new BlockIndex(Math.floor(budget / store.bytes));
  }

  get stats(): ReuseStats {
    const { size, capacity, evicted } = this.#index;
    return {
      promptTokens: this.#promptTokens,
      reusedTokens: this.#reusedTokens,
      blocks: size,
      capacity,
      bytes: size * this.#store.bytes,
      evicted,
    };
  }

  get blockTokens(): number {
    return this.#store.tokens;
  }

  /** Runs the prompts one after the other, so that each may begin as one before it did. */
  async prefill(
    calls: DecoderCalls,
    prompts: readonly (readonly number[])[],
    table: Features | undefined,
    chunk: number,
    marks?: readonly PromptMarks[],
  ): Promise<DecodingRows> {
    const keys = new BlockKeys(this.#store.tokens, this.#vocabSize, table);
    const rows: DecodingRows[] = [];
    try {
      for (const [i, ids] of prompts.entries()) {
        const { calls: own, key } = calls.row(i);
        rows.push(await this.#row(own, ids, keys.of(ids, key), chunk, marks?.[i]));
      }
    } catch (error) {
      for (const row of rows) row.close();
      throw error;
    }
    return DecodingRows.join(calls, rows);
  }

  /**
   * What is known of a prompt's beginning is loaded, the rest computed block by block and kept. A block is always
   * computed by itself, from the same columns and in calls of the same shapes (`chunk` columns at most), so that its bits
   * do not depend on what was known.
   * Blocks that an image lies across are computed together, all of them or none: its tokens see those of later blocks.
   * Tokens of answers are not kept: they come from calls of one token, whose bits are not those of a prompt's block.
   */
  async #row(
    calls: DecoderCalls,
    ids: readonly number[],
    keys: readonly string[],
    chunk: number,
    marks: PromptMarks | undefined,
  ): Promise<DecodingRows> {
    const { tokens } = this.#store;
    const left = marks?.spans;
    const stops = stopsOf(tailStart(ids.length, tokens), tokens, left);
    const before = stops.at(-1) ?? 0;
    const lease = this.#known(keys, stops);
    const row = this.#resume(calls, lease);
    const append = (from: number, to: number, most: number): Promise<void> =>
      row.append([ids.slice(from, to)], most, marks && [sliceMarks(marks, from, to)]);
    try {
      let from = row.reusedTokens;
      for (const stop of stops.filter(one => one > row.reusedTokens)) {
        await append(from, stop, chunk);
        for (let at = from; at < stop; at += tokens) this.#keep(lease, keys[at / tokens], at, row, stop);
        from = stop;
      }
      await append(before, ids.length, left === undefined ? Math.min(chunk, tokens) : chunk);
      if (ids.length - before === tokens) this.#keep(lease, keys[before / tokens], before, row, ids.length);
      this.#promptTokens += ids.length;
      this.#reusedTokens += row.reusedTokens;
      return row;
    } catch (error) {
      row.close();
      throw error;
    } finally {
      this.#index.release(lease);
    }
  }

  /** The longest chain that is known and ends where a call may. */
  #known(keys: readonly string[], stops: readonly number[]): Lease {
    const { tokens } = this.#store;
    const lease = this.#index.lookup(keys.slice(0, (stops.at(-1) ?? 0) / tokens));
    const end = stops.findLast(stop => stop <= lease.length * tokens) ?? 0;
    if (end === lease.length * tokens) return lease;
    this.#index.release(lease);
    return this.#index.lookup(keys.slice(0, end / tokens));
  }

  #resume(calls: DecoderCalls, lease: Lease): DecodingRows {
    const { tokens } = this.#store;
    const { blocks } = lease;
    const length = blocks.length * tokens;
    // What a row that computed these blocks would have let go of.
    const hidden = calls.keeps === undefined ? 0 : Math.max(0, Math.floor((length - calls.keeps) / tokens));
    const cache = this.#store.load(blocks.slice(hidden), calls);
    const row = DecodingRows.resume(calls, cache, length, length - hidden * tokens);
    row.reusedTokens = length;
    return row;
  }

  /** Keeps the block that begins at token `at` of a row of `length`, unless there was no room for one before it. */
  #keep(lease: Lease, key: string | undefined, at: number, row: DecodingRows, length: number): void {
    const { tokens } = this.#store;
    if (key === undefined || lease.length < at / tokens) return;
    const place = this.#index.extend(lease, key);
    if (place?.isNew) this.#store.save(place.block, row.cache, row.columns - (length - at));
  }
}

/**
 * Where the part of a prompt begins that is computed in any case: its last token at least, whose logits the answer begins
 * with, and a block more where that token would be left to a call of its own (see pieceLength).
 */
function tailStart(length: number, tokens: number): number {
  const blocks = Math.floor((length - 1) / tokens);
  const isAlone = (length - 1) % tokens === 0 && tokens > 2;
  return Math.max(0, isAlone ? blocks - 1 : blocks) * tokens;
}

/** Ends of blocks, up to `before`, that are in no span. */
function stopsOf(before: number, tokens: number, left: SpansLeft | undefined): readonly number[] {
  const ends = Array.from({ length: before / tokens }, (_, block) => (block + 1) * tokens);
  return ends.filter(end => !cutsSpan(left, end));
}
