import { throwIfAny } from "../diagnostics/index.ts";
import type { EngineProfile, LlmEngineConfig } from "../formats/engine-config.ts";
import { type Attended, blockTokensOf, DecoderCalls } from "./calls.ts";
import { type Decoding, DecodingRows } from "./decoding.ts";
import { withoutAdapters } from "./lora/bank.ts";
import type { OrtGraph } from "./ort.ts";
import { checkPromptLength, longestPiece, promptCalls } from "./pieces.ts";
import { checkCapacity, checkProfiles, type InputShapes, staticCapacity } from "./profiles.ts";
import { type Features, tableFeeds, tableIo } from "./prompt-table.ts";
import type { PrefixCache } from "./reuse/prefix-cache.ts";

/** How large a request gets; all it takes to tell whether the engine can serve it. */
export interface RequestSize {
  readonly batch: number;
  readonly beams: number;
  /** Tokens of the longest prompt, visual features included. */
  readonly promptTokens: number;
  readonly newTokens: number;
  /** Rows of the prompt table; 0 without images. */
  readonly tableRows: number;
}

/** The decoder graph of DESIGN §5, fed by its contract. */
export class Decoder {
  readonly #graph: OrtGraph;
  readonly #config: LlmEngineConfig;
  readonly #inputs: ReadonlySet<string>;
  /** Features a prompt-table task has; any value will do while every task is 0. */
  readonly #featuresPerImage: number;
  readonly #prefixes: PrefixCache | undefined;

  /** @param prefixes beginnings of prompts that are kept from request to request. */
  constructor(graph: OrtGraph, config: LlmEngineConfig, featuresPerImage: number, prefixes?: PrefixCache) {
    this.#graph = graph;
    this.#config = config;
    this.#inputs = new Set(config.io.filter(value => value.kind === "input").map(value => value.name));
    this.#featuresPerImage = featuresPerImage;
    this.#prefixes = prefixes;
  }

  get takesImages(): boolean {
    return this.#inputs.has("prompt_embedding_table");
  }

  /** @throws MmtrtError RUN010 with every size of the whole request (prefill and last step) that no profile takes. */
  check(size: RequestSize, at: string): void {
    const { profiles, io } = this.#config;
    const isContext = (profile: EngineProfile): boolean => profile.name.startsWith("context");
    const last = this.#shapes(size.batch * size.beams, 1, size.promptTokens + size.newTokens - 2, size.tableRows);
    const problems = [
      ...checkPromptLength(this.#config, size.promptTokens, at),
      ...this.#prefillShapes(size).flatMap(shapes => checkProfiles(profiles.filter(isContext), io, shapes, at)),
      ...(size.newTokens > 1
        ? checkProfiles(
            profiles.filter(p => !isContext(p)),
            io,
            last,
            at,
          )
        : []),
      ...checkCapacity(io, size.promptTokens + size.newTokens - 1, at),
    ];
    throwIfAny(problems);
  }

  /** Most new tokens that a profile or a static cache has room for after so many; at least 1. */
  longestAnswer(promptTokens: number): number {
    const { profiles, io } = this.#config;
    const block = blockTokensOf(this.#config);
    const past = Math.max(
      -1,
      ...profiles.map(({ name, sizes }) => (name.startsWith("context") ? -1 : pastOf(sizes, block))),
    );
    // The last token is made from the cache of all before it, and is not cached itself.
    const cached = staticCapacity(io) ?? past + 1;
    return Math.max(1, cached + 1 - promptTokens);
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
    if (this.#prefixes !== undefined) return this.#prefixes.prefill(calls, prompts, table, piece);
    const rows = DecodingRows.empty(calls, prompts.length);
    await rows.append(prompts, piece);
    return rows;
  }

  /** Where prefixes are reused, rows are run one by one. */
  #prefillShapes({ batch, promptTokens, tableRows }: RequestSize): readonly InputShapes[] {
    const rows = this.#prefixes === undefined ? batch : 1;
    const piece = Math.min(longestPiece(this.#config), this.#prefixes?.blockTokens ?? promptTokens);
    return promptCalls(promptTokens, piece).map(({ seq, past }) => this.#shapes(rows, seq, past, tableRows));
  }

  #shapes(batch: number, seq: number, past: number, tableRows: number): InputShapes {
    const all: InputShapes = {
      input_ids: [batch, seq],
      position_ids: [batch, seq],
      last_token_ids: [batch],
      attention_mask: [batch, past + seq],
      cache_lengths: [batch],
      block_table: [batch, Math.ceil((past + seq) / blockTokensOf(this.#config))],
      prompt_embedding_table: [Math.max(1, tableRows), this.#tableWidth()],
      tasks: [batch, 1],
    };
    const caches = this.#config.io
      .filter(value => value.kind === "input" && /^past_(key|value)_\d+$/.test(value.name))
      .map(({ name, shape }) => [name, [batch, shape[1] as number, past, shape[3] as number]] as const);
    return Object.fromEntries([...Object.entries(all).filter(([name]) => this.#inputs.has(name)), ...caches]);
  }

  #tableWidth(): number {
    return tableIo(this.#config.io)?.shape[1] ?? 1;
  }
}

/** A generation profile of a static cache names no past: its capacity is the limit. One token of a paged cache is new. */
function pastOf({ past, blocks_per_sequence: blocks }: EngineProfile["sizes"], blockTokens: number): number {
  return past?.max ?? (blocks === undefined ? -1 : blocks.max * blockTokens - 1);
}
