import type { LlmEngineConfig } from "../formats/engine-config.ts";
import { KvCache } from "./kv-cache.ts";
import { type Feeds, type OrtGraph, type Tensor, toFloat32 } from "./ort.ts";
import type { PagePool } from "./page-pool.ts";
import { PagedCache } from "./paged-cache.ts";
import { positionAxes } from "./positions.ts";

/** What an encoder gives a decoder: the same at every step, one row for each row that is decoded. */
export interface Attended {
  feeds(): Feeds;
  /** Row i becomes what row `rows[i]` was. */
  select(rows: readonly number[]): void;
  /** One row by itself; there where prompts may be run one by one. */
  row?(index: number): OwnRow;
}

/** What one row attends to, and what tells its keys and values from those of the same tokens in another row. */
export interface OwnRow {
  readonly attended: Attended;
  readonly key: string;
}

/** The same number of new tokens for each row. */
export interface Call {
  readonly seq: number;
  /** [rows, seq], padding included. */
  readonly ids: Int32Array;
  /** [axes, rows, seq]. */
  readonly positions: Int32Array;
  /** `visual_spans`, where the decoder has it. */
  readonly spans: Int32Array;
  /** Index of the token of each row that logits are wanted for. */
  readonly last: readonly number[];
  /** Continuous cache: 1 = token, 0 = padding, [rows, cached + seq]. */
  readonly mask: Int32Array;
  /** Static and paged cache: where each row is written. */
  readonly writeAt: readonly number[];
}

/** The decoder graph of DESIGN §5 for one batch, fed by its contract. */
export class DecoderCalls {
  readonly vocab: number;
  /**
   * Continuous cache: prompts are padded on the left, as transformers does, so that all rows end at the same column.
   * Static and paged cache: on the right, because a row's new tokens are written at its own length.
   */
  readonly padsLeft: boolean;
  /** Cached columns that a later token may see; undefined without a sliding window. */
  readonly keeps: number | undefined;
  /** Numbers that a token's position has: one, or three with M-RoPE. */
  readonly axes: number;
  /** Tokens of a block: what is dropped behind the window, and what is reused. */
  readonly blockTokens: number;
  readonly #graph: OrtGraph;
  readonly #config: LlmEngineConfig;
  readonly #table: (rows: number) => Feeds;
  readonly #attended: Attended | undefined;
  readonly #hasPositions: boolean;
  readonly #hasSpans: boolean;

  constructor(graph: OrtGraph, config: LlmEngineConfig, table: (rows: number) => Feeds, attended?: Attended) {
    this.#graph = graph;
    this.#config = config;
    this.#table = table;
    this.#attended = attended;
    this.#hasPositions = config.io.some(value => value.name === "position_ids");
    this.#hasSpans = config.io.some(value => value.name === "visual_spans");
    this.axes = positionAxes(config);
    this.padsLeft = config.build_config.kv_cache_type === "continuous";
    this.vocab = config.io.find(value => value.name === "logits")?.shape[1] ?? 0;
    this.blockTokens = blockTokensOf(config);
    this.keeps = windowKeeps(config);
  }

  /** Calls for one row of the batch, and what its keys and values depend on besides its tokens. */
  row(index: number): { readonly calls: DecoderCalls; readonly key: string } {
    const own = this.#attended?.row?.(index);
    if (this.#attended !== undefined && own === undefined) throw new Error("rows that cannot be run one by one");
    return { calls: new DecoderCalls(this.#graph, this.#config, this.#table, own?.attended), key: own?.key ?? "" };
  }

  /** Caches of one row each as one of a batch. */
  join(caches: readonly KvCache[]): KvCache {
    if (caches.every(cache => cache instanceof PagedCache)) return PagedCache.joined(this.#graph, caches);
    return KvCache.join(caches, this.padsLeft);
  }

  emptyCache(rows: number, columns = 0): KvCache {
    const { io, build_config } = this.#config;
    if (build_config.kv_cache_type === "paged") return PagedCache.alone(this.#graph, io, rows);
    return KvCache.empty(this.#graph, io, rows, columns);
  }

  /** One row that begins with pages of a pool that others share. */
  pagedCache(pool: PagePool, pages: readonly number[]): KvCache {
    return PagedCache.beginning(this.#graph, pool, pages);
  }

  /** Logits of `last`, [rows, vocab]; the new keys and values are in `cache` after it. */
  run(cache: KvCache, call: Call): Promise<Float32Array> {
    return cache.exclusive(() => this.#run(cache, call));
  }

  async #run(cache: KvCache, { seq, ids, positions, spans, last, mask, writeAt }: Call): Promise<Float32Array> {
    const rows = last.length;
    cache.reserve(writeAt, seq);
    const int32 = (data: Int32Array, dims: readonly number[]): Tensor => this.#graph.tensor("int32", data, dims);
    const feeds = {
      input_ids: int32(ids, [rows, seq]),
      ...(this.#hasPositions && {
        position_ids: int32(positions, this.axes === 1 ? [rows, seq] : [this.axes, rows, seq]),
      }),
      ...(this.#hasSpans && { visual_spans: int32(spans, [rows, seq]) }),
      last_token_ids: int32(Int32Array.from(last), [rows]),
      ...(this.padsLeft
        ? { attention_mask: int32(mask, [rows, mask.length / rows]) }
        : { cache_lengths: int32(Int32Array.from(writeAt), [rows]) }),
      ...this.#table(rows),
      ...this.#attended?.feeds(),
      ...cache.feeds(),
    };
    const outputs = await this.#graph.run(feeds, cache.into());
    cache.take(outputs);
    return toFloat32(outputs.logits as Tensor);
  }

  /** Row i becomes what row `rows[i]` was. */
  select(rows: readonly number[]): void {
    this.#attended?.select(rows);
  }
}

/** Columns of a growing cache that a later token may see; the newest block stays whole, so that it can be kept for other prompts. */
export function windowKeeps(config: LlmEngineConfig): number | undefined {
  const window = config.build_config.kv_cache_type === "continuous" ? config.sliding_window : undefined;
  return window === undefined ? undefined : Math.max(window - 1, blockTokensOf(config));
}

/** tokens_per_block of the build; TensorRT-LLM's default where a directory of an older version does not say it. */
export function blockTokensOf({ build_config }: LlmEngineConfig): number {
  const { tokens_per_block: tokens } = build_config.plugin_config;
  return typeof tokens === "number" && tokens > 0 ? tokens : 64;
}
