import type { EngineIo } from "../../formats/engine-config.ts";
import { byteLength } from "../../tensor/index.ts";
import { type CacheData, type CachePart, cacheInputs, copyColumns, emptyLike, KvCache } from "../kv-cache.ts";
import type { OrtGraph } from "../ort.ts";

/** Where the keys and values of numbered blocks are. With pages of a pool, both would be entries of a table and no copies. */
export interface BlockStore<Cache> {
  /** Tokens of a block. */
  readonly tokens: number;
  /** Bytes of a block over all layers. */
  readonly bytes: number;
  /** Makes `block` the keys and values in columns `at` … `at + tokens` of a cache of one row. */
  save(block: number, cache: Cache, at: number): void;
  /** A cache of one row that begins with these blocks. */
  load(blocks: readonly number[]): Cache;
}

/** Copies in memory, for caches whose inputs and outputs are tensors. */
export class HostBlocks implements BlockStore<KvCache> {
  readonly tokens: number;
  readonly bytes: number;
  readonly #graph: OrtGraph;
  readonly #io: readonly EngineIo[];
  /** By number: each input's [kv_heads, tokens, head_dim]. The arrays of a block that gave way are filled anew. */
  readonly #blocks: (readonly CacheData[])[] = [];

  constructor(graph: OrtGraph, io: readonly EngineIo[], tokens: number) {
    this.#graph = graph;
    this.#io = io;
    this.tokens = tokens;
    this.bytes = cacheInputs(io).reduce(
      (sum, { dtype, shape }) => sum + byteLength(dtype, [shape[1] as number, tokens, shape[3] as number]),
      0,
    );
  }

  save(block: number, cache: KvCache, at: number): void {
    const parts = cache.parts();
    const kept =
      this.#blocks[block] ?? parts.map(({ data, heads, headDim }) => emptyLike(data, heads * this.tokens * headDim));
    this.#blocks[block] = kept;
    for (const [i, part] of parts.entries()) {
      copyColumns(part, { row: 0, at }, this.#partOf(part, kept[i] as CacheData), { row: 0, at: 0 }, this.tokens);
    }
  }

  load(blocks: readonly number[]): KvCache {
    const cache = KvCache.empty(this.#graph, this.#io, 1, blocks.length * this.tokens);
    for (const [i, part] of cache.parts().entries()) {
      for (const [n, block] of blocks.entries()) {
        const kept = this.#partOf(part, this.#blocks[block]?.[i] as CacheData);
        copyColumns(kept, { row: 0, at: 0 }, part, { row: 0, at: n * this.tokens }, this.tokens);
      }
    }
    return cache;
  }

  #partOf({ heads, headDim }: CachePart, data: CacheData): CachePart {
    return { data, heads, columns: this.tokens, headDim };
  }
}
