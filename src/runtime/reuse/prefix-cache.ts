import type { DecoderCalls } from "../calls.ts";
import { DecodingRows } from "../decoding.ts";
import type { KvCache } from "../kv-cache.ts";
import type { Features } from "../prompt-table.ts";
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
  ): Promise<DecodingRows> {
    const keys = new BlockKeys(this.#store.tokens, this.#vocabSize, table);
    const rows: DecodingRows[] = [];
    try {
      for (const [i, ids] of prompts.entries()) {
        const { calls: own, key } = calls.row(i);
        rows.push(await this.#row(own, ids, keys.of(ids, key), chunk));
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
   * Tokens of answers are not kept: they come from calls of one token, whose bits are not those of a prompt's block.
   */
  async #row(
    calls: DecoderCalls,
    ids: readonly number[],
    keys: readonly string[],
    chunk: number,
  ): Promise<DecodingRows> {
    const { tokens } = this.#store;
    const before = tailStart(ids.length, tokens);
    const lease = this.#index.lookup(keys.slice(0, before / tokens));
    const row = this.#resume(calls, lease);
    try {
      for (let at = row.reusedTokens; at < before; at += tokens) {
        await row.append([ids.slice(at, at + tokens)], chunk);
        this.#keep(lease, keys[at / tokens], at, row);
      }
      await row.append([ids.slice(before)], Math.min(chunk, tokens));
      if (ids.length - before === tokens) this.#keep(lease, keys[before / tokens], before, row);
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

  /** Keeps the row's newest block, which begins at token `at`, unless there was no room for one before it. */
  #keep(lease: Lease, key: string | undefined, at: number, row: DecodingRows): void {
    const { tokens } = this.#store;
    if (key === undefined || lease.length < at / tokens) return;
    const place = this.#index.extend(lease, key);
    if (place?.isNew) this.#store.save(place.block, row.cache, row.columns - tokens);
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
