import { throwIfAny } from "../diagnostics/index.ts";
import type { EngineProfile, LlmEngineConfig } from "../formats/engine-config.ts";
import { blockTokensOf } from "./calls.ts";
import { checkPromptLength, longestPiece, promptCalls } from "./pieces.ts";
import { positionAxes } from "./positions.ts";
import { checkCapacity, checkProfiles, type InputShapes, staticCapacity } from "./profiles.ts";
import { tableIo } from "./prompt-table.ts";

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

/** What a decoder's profiles and cache have room for: known from its config alone, whoever runs it. */
export class DecoderLimits {
  readonly #config: LlmEngineConfig;
  readonly #inputs: ReadonlySet<string>;
  readonly #reusedBlock: number | undefined;

  /** @param reusedBlock tokens of a block of prefixes that are reused: rows are then run one by one, block by block. */
  constructor(config: LlmEngineConfig, reusedBlock?: number) {
    this.#config = config;
    this.#inputs = new Set(config.io.filter(value => value.kind === "input").map(value => value.name));
    this.#reusedBlock = reusedBlock;
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

  #prefillShapes({ batch, promptTokens, tableRows }: RequestSize): readonly InputShapes[] {
    const rows = this.#reusedBlock === undefined ? batch : 1;
    const piece = Math.min(longestPiece(this.#config), this.#reusedBlock ?? promptTokens);
    return promptCalls(promptTokens, piece).map(({ seq, past }) => this.#shapes(rows, seq, past, tableRows));
  }

  #shapes(batch: number, seq: number, past: number, tableRows: number): InputShapes {
    const axes = positionAxes(this.#config);
    const all: InputShapes = {
      input_ids: [batch, seq],
      position_ids: axes === 1 ? [batch, seq] : [axes, batch, seq],
      visual_spans: [batch, seq],
      last_token_ids: [batch],
      attention_mask: [batch, past + seq],
      cache_lengths: [batch],
      block_table: [batch, Math.ceil((past + seq) / blockTokensOf(this.#config))],
      prompt_embedding_table: [Math.max(1, tableRows), this.#tableWidth()],
      deepstack_table: [this.#levels(), Math.max(1, tableRows), this.#tableWidth()],
      tasks: [batch, 1],
    };
    const caches = this.#config.io
      .filter(value => value.kind === "input" && /^past_(key|value)_\d+$/.test(value.name))
      .map(({ name, shape }) => [name, [batch, shape[1] as number, past, shape[3] as number]] as const);
    return Object.fromEntries([...Object.entries(all).filter(([name]) => this.#inputs.has(name)), ...caches]);
  }

  #levels(): number {
    return this.#config.io.find(({ name }) => name === "deepstack_table")?.shape[0] ?? 0;
  }

  #tableWidth(): number {
    return tableIo(this.#config.io)?.shape[1] ?? 1;
  }
}

/** A generation profile of a static cache names no past: its capacity is the limit. One token of a paged cache is new. */
function pastOf({ past, blocks_per_sequence: blocks }: EngineProfile["sizes"], blockTokens: number): number {
  return past?.max ?? (blocks === undefined ? -1 : blocks.max * blockTokens - 1);
}
