import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { EngineProfile, LlmEngineConfig } from "../formats/engine-config.ts";
import { type Attended, blockTokensOf, DecoderCalls } from "./calls.ts";
import { type Decoding, DecodingRows } from "./decoding.ts";
import { withoutAdapters } from "./lora/bank.ts";
import type { OrtGraph } from "./ort.ts";
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
      ...this.#checkPrompt(size, at),
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
    if (this.#prefixes !== undefined) return this.#prefixes.prefill(calls, prompts, table, this.#chunk());
    const rows = DecodingRows.empty(calls, prompts.length);
    await rows.append(prompts, this.#chunk());
    return rows;
  }

  /** Most tokens of a row in one call: without --use_paged_context_fmha no profile takes a prompt's second piece. */
  #chunk(): number {
    const { profiles, build_config } = this.#config;
    if (build_config.plugin_config.use_paged_context_fmha !== true) return Number.POSITIVE_INFINITY;
    return Math.max(
      1,
      ...profiles.filter(({ name }) => name.startsWith("context")).map(({ sizes }) => sizes.seq?.max ?? 1),
    );
  }

  /** A prompt in pieces passes every profile piece by piece, however long it is. */
  #checkPrompt({ promptTokens }: RequestSize, at: string): readonly Problem[] {
    const { max_input_len: most } = this.#config.build_config;
    const chunk = this.#chunk();
    if (!Number.isFinite(chunk) || typeof most !== "number" || promptTokens <= most) return [];
    return [
      {
        code: "RUN010",
        what: `the prompt has ${promptTokens} tokens; the engine takes 1 to ${most}, at most ${chunk} at once`,
        at,
        why: "keys of a prompt's earlier pieces are kept for max_input_len tokens",
        fix: `build with --max_input_len ${promptTokens} or more, or ask for less at once`,
      },
    ];
  }

  /** The first and the last call of a prefill. Where prefixes are reused, rows are run one by one. */
  #prefillShapes({ batch, promptTokens, tableRows }: RequestSize): readonly InputShapes[] {
    const rows = this.#prefixes === undefined ? batch : 1;
    const seq = Math.min(promptTokens, this.#chunk(), this.#prefixes?.blockTokens ?? promptTokens);
    const past = Math.floor((promptTokens - 1) / seq) * seq;
    const first = this.#shapes(rows, seq, 0, tableRows);
    return past === 0 ? [first] : [first, this.#shapes(rows, promptTokens - past, past, tableRows)];
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
