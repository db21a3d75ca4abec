import type { EngineIo } from "../formats/engine-config.ts";
import { type CacheData, cacheInputs, emptyData, emptyLike, KvCache } from "./kv-cache.ts";
import type { Feeds, Fetches, OrtGraph, Tensor } from "./ort.ts";

/** Block `to` becomes a copy of block `from`. */
export interface BlockCopy {
  readonly from: number;
  readonly to: number;
}

/**
 * Which blocks of a pool hold each row's tokens, in order. Rows may share blocks (beams do, until they write); block 0 is
 * nobody's, and fills tables up to the width of the longest.
 */
export class BlockTable {
  readonly tokens: number;
  #rows: number[][];
  /** Rows that have each block. */
  readonly #users: number[] = [1];
  readonly #free: number[] = [];

  /** @param tokens of a block. */
  constructor(rows: number, tokens: number) {
    this.tokens = tokens;
    this.#rows = Array.from({ length: rows }, () => []);
  }

  /** Blocks that the pool must have. */
  get blocks(): number {
    return this.#users.length;
  }

  /** Room for tokens `start` … `start + count` of a row, in blocks that are its own; returns what is to be copied for that. */
  reserve(row: number, start: number, count: number): readonly BlockCopy[] {
    const own = this.#rows[row] as number[];
    const copies: BlockCopy[] = [];
    const end = Math.ceil((start + count) / this.tokens);
    for (let at = Math.floor(start / this.tokens); at < end; at++) {
      const known = own[at];
      if (known !== undefined && this.#users[known] === 1) continue;
      const fresh = this.#take();
      if (known !== undefined) {
        this.#release(known);
        copies.push({ from: known, to: fresh });
      }
      own[at] = fresh;
    }
    return copies;
  }

  /** Row i continues what row `rows[i]` was. */
  select(rows: readonly number[]): void {
    const before = this.#rows;
    this.#rows = rows.map(row => [...(before[row] as number[])]);
    for (const block of this.#rows.flat()) this.#users[block] = (this.#users[block] as number) + 1;
    for (const block of before.flat()) this.#release(block);
  }

  /** Blocks of a row, in order. */
  row(row: number): readonly number[] {
    return this.#rows[row] as readonly number[];
  }

  /** [rows, width], rows one after the other. */
  table(): { readonly data: Int32Array; readonly width: number } {
    const width = Math.max(1, ...this.#rows.map(({ length }) => length));
    const data = new Int32Array(this.#rows.length * width);
    for (const [row, own] of this.#rows.entries()) data.set(own, row * width);
    return { data, width };
  }

  #take(): number {
    const block = this.#free.pop() ?? this.#users.length;
    this.#users[block] = 1;
    return block;
  }

  #release(block: number): void {
    const left = (this.#users[block] as number) - 1;
    this.#users[block] = left;
    if (left === 0) this.#free.push(block);
  }
}

/** A block's numbers in a pool [blocks, kv_heads, tokens, head_dim]. */
function blockOf({ data, dims }: Tensor, block: number): CacheData {
  const stride = dims.slice(1).reduce((product, dim) => product * dim, 1);
  return (data as CacheData).subarray(block * stride, (block + 1) * stride);
}

/** Pools of blocks that grow as rows do, and the table by which the graph finds a row's tokens. */
export class PagedCache extends KvCache {
  readonly #graph: OrtGraph;
  readonly #inputs: readonly EngineIo[];
  readonly #table: BlockTable;
  #rows: number;
  #pools: readonly Tensor[];

  constructor(graph: OrtGraph, io: readonly EngineIo[], rows: number) {
    super(graph, [], []);
    this.#graph = graph;
    this.#inputs = cacheInputs(io);
    this.#rows = rows;
    this.#table = new BlockTable(rows, this.#inputs[0]?.shape[2] ?? 1);
    this.#pools = this.#inputs.map(({ dtype, shape }) => {
      const dims = [1, shape[1] as number, shape[2] as number, shape[3] as number];
      return graph.tensor(dtype === "int8" || dtype === "float16" ? dtype : "float32", emptyData(dtype, dims), dims);
    });
  }

  /** Caches of one row each as rows of one, each with its blocks in a pool of all. */
  static joined(graph: OrtGraph, io: readonly EngineIo[], caches: readonly PagedCache[]): PagedCache {
    const joined = new PagedCache(graph, io, caches.length);
    const tokens = joined.#table.tokens;
    for (const [row, cache] of caches.entries()) joined.#table.reserve(row, 0, cache.#table.row(0).length * tokens);
    joined.#pools = joined.#pools.map(pool => joined.#grown(pool));
    for (const [row, cache] of caches.entries()) {
      for (const [at, block] of cache.#table.row(0).entries()) {
        const to = joined.#table.row(row)[at] as number;
        for (const [i, pool] of cache.#pools.entries())
          blockOf(joined.#pools[i] as Tensor, to).set(blockOf(pool, block) as never);
      }
    }
    return joined;
  }

  /** The block that begins at a token; as many tokens as a block has. */
  override copyOut(at: number, _count: number, block: readonly CacheData[]): void {
    const from = this.#table.row(0)[at / this.#table.tokens] as number;
    for (const [i, pool] of this.#pools.entries()) (block[i] as CacheData).set(blockOf(pool, from) as never);
  }

  override copyIn(at: number, _count: number, block: readonly CacheData[]): void {
    const to = this.#table.row(0)[at / this.#table.tokens] as number;
    for (const [i, pool] of this.#pools.entries()) blockOf(pool, to).set(block[i] as never);
  }

  /** Before a call that writes `seq` tokens of each row from `writeAt` on. */
  override reserve(writeAt: readonly number[], seq: number): void {
    const copies = writeAt.flatMap((start, row) => this.#table.reserve(row, start, seq));
    this.#pools = this.#pools.map(pool => this.#grown(pool));
    for (const { data, dims } of this.#pools) {
      const stride = dims.slice(1).reduce((product, dim) => product * dim, 1);
      for (const { from, to } of copies)
        (data as CacheData).copyWithin(to * stride, from * stride, (from + 1) * stride);
    }
  }

  override feeds(): Feeds {
    const { data, width } = this.#table.table();
    return {
      ...Object.fromEntries(this.#inputs.map(({ name }, i) => [name, this.#pools[i] as Tensor])),
      block_table: this.#graph.tensor("int32", data, [this.#rows, width]),
    };
  }

  override take(outputs: Fetches): void {
    this.#pools = this.#inputs.map(({ name }) => outputs[`${name}_out`] as Tensor);
  }

  override select(rows: readonly number[]): void {
    this.#rows = rows.length;
    this.#table.select(rows);
  }

  /** Half as many blocks again and more where some are missing, so that growing costs a copy of each token on average. */
  #grown(pool: Tensor): Tensor {
    const [blocks = 0, ...block] = pool.dims;
    if (this.#table.blocks <= blocks) return pool;
    const data = pool.data as CacheData;
    const wanted = Math.max(this.#table.blocks, Math.ceil(blocks * 1.5));
    const grown = emptyLike(data, (data.length / blocks) * wanted);
    grown.set(data as never);
    const type = pool.type === "float16" || pool.type === "int8" ? pool.type : "float32";
    return this.#graph.tensor(type, grown, [wanted, ...block]);
  }
}
