import type { LlmEngineConfig } from "../formats/engine-config.ts";
import { type Attended, DecoderCalls } from "./calls.ts";
import { DecoderLimits, type RequestSize } from "./decoder-limits.ts";
import { type Decoding, DecodingRows } from "./decoding.ts";
import { withoutAdapters } from "./lora/bank.ts";
import { promptMarks } from "./marks.ts";
import type { OrtGraph } from "./ort.ts";
import { longestPiece } from "./pieces.ts";
import { type Features, tableFeeds } from "./prompt-table.ts";
import type { PrefixCache } from "./reuse/prefix-cache.ts";

export type { RequestSize } from "./decoder-limits.ts";

/** The decoder graph of DESIGN §5, fed by its contract. */
export class Decoder {
  readonly #graph: OrtGraph;
  readonly #config: LlmEngineConfig;
  readonly #limits: DecoderLimits;
  /** Features a prompt-table task has; any value will do while every task is 0. */
  readonly #featuresPerImage: number;
  readonly #prefixes: PrefixCache | undefined;

  /** @param prefixes beginnings of prompts that are kept from request to request. */
  constructor(graph: OrtGraph, config: LlmEngineConfig, featuresPerImage: number, prefixes?: PrefixCache) {
    this.#graph = graph;
    this.#config = config;
    this.#limits = new DecoderLimits(config, prefixes?.blockTokens);
    this.#featuresPerImage = featuresPerImage;
    this.#prefixes = prefixes;
  }

  /** @throws MmtrtError RUN010 with every size of the whole request that no profile takes. */
  check(size: RequestSize, at: string): void {
    this.#limits.check(size, at);
  }

  /** Most new tokens that a profile or a static cache has room for after so many; at least 1. */
  longestAnswer(promptTokens: number): number {
    return this.#limits.longestAnswer(promptTokens);
  }

  /** Runs the prompts, one row each; ids ≥ vocab_size are rows of `table`. */
  async prefill(
    prompts: readonly (readonly number[])[],
    table: Features | undefined,
    attended?: Attended,
  ): Promise<Decoding> {
    const feeds = tableFeeds(this.#graph, this.#config.io, this.#featuresPerImage, table);
    const beside = attended ?? (await withoutAdapters(this.#graph, this.#config, prompts.length));
    const calls = new DecoderCalls(this.#graph, this.#config, feeds, beside);
    const piece = longestPiece(this.#config);
    const marks = promptMarks(this.#config, prompts, calls.vocab, table);
    if (this.#prefixes !== undefined) return this.#prefixes.prefill(calls, prompts, table, piece, marks);
    const rows = DecodingRows.empty(calls, prompts.length);
    await rows.append(prompts, piece, marks);
    return rows;
  }
}
