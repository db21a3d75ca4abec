import type { EngineIo } from "../../formats/engine-config.ts";
import { byteLength } from "../../tensor/index.ts";
import type { DecoderCalls } from "../calls.ts";
import { type CacheData, cacheInputs, emptyData, type KvCache } from "../kv-cache.ts";
import type { OrtGraph } from "../ort.ts";
import { PagePool } from "../page-pool.ts";
import type { PagedCache } from "../paged-cache.ts";

/** Where the keys and values of numbered blocks are. */
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

/** Copies in memory, for caches that are tensors of a whole batch. */
export class HostBlocks implements BlockStore<KvCache> {
  readonly tokens: number;
  readonly bytes: number;
  readonly #inputs: readonly EngineIo[];
  /** By number: each input's [kv_heads, tokens, head_dim]. The arrays of a block that gave way are filled anew. */
  readonly #blocks: (readonly CacheData[])[] = [];

  constructor(io: readonly EngineIo[], tokens: number) {
    this.#inputs = cacheInputs(io);
    this.tokens = tokens;
    this.bytes = bytesOf(this.#inputs, tokens);
  }

  save(block: number, cache: KvCache, at: number): void {
    const kept = this.#blocks[block] ?? this.#inputs.map(input => emptyData(input.dtype, shapeOf(input, this.tokens)));
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
}

/** Pages of one pool that requests share: a block is a page, which is kept where its prompt wrote it. */
export class PageBlocks implements BlockStore<KvCache> {
  readonly tokens: number;
  readonly bytes: number;
  readonly #pool: PagePool;
  /** The page of each block. */
  readonly #blocks: number[] = [];

  constructor(graph: OrtGraph, io: readonly EngineIo[], tokens: number) {
    this.#pool = new PagePool(graph, io);
    this.tokens = tokens;
    this.bytes = bytesOf(cacheInputs(io), tokens);
  }

  /** Pages that blocks and requests have now. */
  get pages(): number {
    return this.#pool.pages.used - 1;
  }

  save(block: number, cache: KvCache, at: number): void {
    const { pages } = this.#pool;
    const page = (cache as PagedCache).pageAt(at);
    pages.retain(page);
    const before = this.#blocks[block];
    if (before !== undefined) pages.release(before);
    this.#blocks[block] = page;
  }

  load(blocks: readonly number[], calls: DecoderCalls): KvCache {
    return calls.pagedCache(
      this.#pool,
      blocks.map(block => this.#blocks[block] as number),
    );
  }
}

/** [kv_heads, tokens, head_dim] of a block. */
function shapeOf({ shape }: EngineIo, tokens: number): readonly [number, number, number] {
  return [shape[1] as number, tokens, shape[3] as number];
}

function bytesOf(inputs: readonly EngineIo[], tokens: number): number {
  return inputs.reduce((sum, input) => sum + byteLength(input.dtype, shapeOf(input, tokens)), 0);
}
