import type { EngineIo } from "../formats/engine-config.ts";
import { KvCache } from "./kv-cache.ts";
import type { Feeds, Fetches, OrtGraph } from "./ort.ts";
import { type BlockCopy, PagePool, type Pages } from "./page-pool.ts";

/**
 * Which pages of a pool hold each row's tokens, in order. Rows, and caches over one pool, may share pages until one writes
 * there.
 */
export class BlockTable {
  readonly tokens: number;
  readonly #pages: Pages;
  #rows: number[][];

  /** @param tokens of a page. */
  constructor(rows: number, tokens: number, pages: Pages) {
    this.tokens = tokens;
    this.#pages = pages;
    this.#rows = Array.from({ length: rows }, () => []);
  }

  /** Room for tokens `start` … `start + count` of a row, in pages that are its own; returns what is to be copied for that. */
  reserve(row: number, start: number, count: number): readonly BlockCopy[] {
    const own = this.#rows[row] as number[];
    const copies: BlockCopy[] = [];
    const end = Math.ceil((start + count) / this.tokens);
    for (let at = Math.floor(start / this.tokens); at < end; at++) {
      const known = own[at];
      if (known !== undefined && this.#pages.users(known) === 1) continue;
      const fresh = this.#pages.take();
      if (known !== undefined) {
        this.#pages.release(known);
        copies.push({ from: known, to: fresh });
      }
      own[at] = fresh;
    }
    return copies;
  }

  /** A row without tokens begins with these pages, which others have too. */
  begin(row: number, pages: readonly number[]): void {
    for (const page of pages) this.#pages.retain(page);
    this.#rows[row] = [...pages];
  }

  /** Row i continues what row `rows[i]` was. */
  select(rows: readonly number[]): void {
    const before = this.#rows;
    this.#rows = rows.map(row => [...(before[row] as number[])]);
    for (const page of this.#rows.flat()) this.#pages.retain(page);
    for (const page of before.flat()) this.#pages.release(page);
  }

  /** Pages of a row, in order. */
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
}

/** Rows whose keys and values lie in the pages of a pool, and the table by which the graph finds them. */
export class PagedCache extends KvCache {
  readonly pool: PagePool;
  readonly #graph: OrtGraph;
  readonly #table: BlockTable;
  #rows: number;

  constructor(graph: OrtGraph, rows: number, pool: PagePool) {
    super(graph, [], []);
    this.pool = pool;
    this.#graph = graph;
    this.#rows = rows;
    this.#table = new BlockTable(rows, pool.tokens, pool.pages);
  }

  /** Rows over a pool of their own. */
  static alone(graph: OrtGraph, io: readonly EngineIo[], rows: number): PagedCache {
    return new PagedCache(graph, rows, new PagePool(graph, io));
  }

  /** One row that begins with pages of the pool. */
  static beginning(graph: OrtGraph, pool: PagePool, pages: readonly number[]): PagedCache {
    const cache = new PagedCache(graph, 1, pool);
    cache.#table.begin(0, pages);
    return cache;
  }

  /** Caches of one row each over one pool, as rows of one. They are closed by it. */
  static joined(graph: OrtGraph, caches: readonly PagedCache[]): PagedCache {
    const { pool } = caches[0] as PagedCache;
    if (caches.some(cache => cache.pool !== pool)) throw new Error("rows of several pools in one batch");
    const joined = new PagedCache(graph, caches.length, pool);
    for (const [row, cache] of caches.entries()) {
      joined.#table.begin(row, cache.#table.row(0));
      cache.close();
    }
    return joined;
  }

  /** The page that holds a token of the first row. */
  pageAt(token: number): number {
    return this.#table.row(0)[Math.floor(token / this.#table.tokens)] as number;
  }

  override exclusive<T>(use: () => Promise<T>): Promise<T> {
    return this.pool.exclusive(use);
  }

  /** Before a call that writes `seq` tokens of each row from `writeAt` on. */
  override reserve(writeAt: readonly number[], seq: number): void {
    this.pool.fit(writeAt.flatMap((start, row) => this.#table.reserve(row, start, seq)));
  }

  override feeds(): Feeds {
    const { data, width } = this.#table.table();
    return { ...this.pool.feeds(), block_table: this.#graph.tensor("int32", data, [this.#rows, width]) };
  }

  override into(): Fetches {
    return this.pool.into();
  }

  override take(outputs: Fetches): void {
    this.pool.fill(outputs);
  }

  override select(rows: readonly number[]): void {
    this.#rows = rows.length;
    this.#table.select(rows);
  }

  override close(): void {
    this.select([]);
  }
}
