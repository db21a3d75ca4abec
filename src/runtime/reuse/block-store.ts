import type { EngineIo } from "../../formats/engine-config.ts";
import { byteLength } from "../../tensor/index.ts";
import type { DecoderCalls } from "../calls.ts";
import { type CacheData, cacheInputs, emptyData, type KvCache } from "../kv-cache.ts";

/**
 * Where the keys and values of numbered blocks are. With pages that requests share, a block would be a page: `save` would
 * leave it where it is, and `load` write its number into a table.
 */
export interface BlockStore<Cache> {
  /** Tokens of a block. */
  readonly tokens: number;
  /** Bytes of a block over all layers. */
  readonly bytes: number;
  /** Makes `block` the keys and values in columns `at` … `at + tokens` of a cache of one row. */
  save(block: number, cache: Cache, at: number): void;
  /** A cache of one row that begins with these blocks, for these calls. */
  load(blocks: readonly number[], calls: DecoderCalls): Cache;
}

/** Copies in memory, whatever form the cache has. */
export class HostBlocks implements BlockStore<KvCache> {
  readonly tokens: number;
  readonly bytes: number;
  readonly #inputs: readonly EngineIo[];
  /** By number: each input's [kv_heads, tokens, head_dim]. The arrays of a block that gave way are filled anew. */
  readonly #blocks: (readonly CacheData[])[] = [];

  constructor(io: readonly EngineIo[], tokens: number) {
    this.#inputs = cacheInputs(io);
    this.tokens = tokens;
    this.bytes = this.#inputs.reduce((sum, input) => sum + byteLength(input.dtype, this.#shape(input)), 0);
  }

  save(block: number, cache: KvCache, at: number): void {
    const kept = this.#blocks[block] ?? this.#inputs.map(input => emptyData(input.dtype, this.#shape(input)));
    this.#blocks[block] = kept;
    cache.copyOut(at, this.tokens, kept);
  }

  load(blocks: readonly number[], calls: DecoderCalls): KvCache {
    const cache = calls.emptyCache(1, blocks.length * this.tokens);
    cache.reserve([0], blocks.length * this.tokens);
    for (const [i, block] of blocks.entries())
      cache.copyIn(i * this.tokens, this.tokens, this.#blocks[block] as readonly CacheData[]);
    return cache;
  }

  #shape({ shape }: EngineIo): readonly [number, number, number] {
    return [shape[1] as number, this.tokens, shape[3] as number];
  }
}
