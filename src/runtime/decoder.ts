import { throwIfAny } from "../diagnostics/index.ts";
import type { EngineIo, EngineProfile, LlmEngineConfig } from "../formats/engine-config.ts";
import { KvCache } from "./kv-cache.ts";
import { type Feeds, fromFloat32, type OrtGraph, type Tensor, toFloat32 } from "./ort.ts";
import { checkCapacity, checkProfiles, type InputShapes, staticCapacity } from "./profiles.ts";

/** Visual features of all images of a batch, one after the other: the rows of the prompt table. */
export interface Features {
  readonly rows: number;
  /** Elements of a row: the language model's hidden size. */
  readonly hidden: number;
  /** rows × hidden. */
  readonly values: Float32Array;
}

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

/** Sequences being decoded, with their cache. `logits` are those after the last token of each row. */
export interface Decoding {
  readonly rows: number;
  readonly vocab: number;
  /** rows × vocab; replaced by each step. */
  readonly logits: Float32Array;
  /** Appends one token to each row. */
  step(tokens: readonly number[]): Promise<void>;
  /** Row i continues what row `rows[i]` was. */
  select(rows: readonly number[]): void;
}

/** The decoder graph of DESIGN §5, fed by its contract. */
export class Decoder {
  readonly #graph: OrtGraph;
  readonly #config: LlmEngineConfig;
  readonly #inputs: ReadonlySet<string>;
  /** Features a prompt-table task has; any value will do while every task is 0. */
  readonly #featuresPerImage: number;

  constructor(graph: OrtGraph, config: LlmEngineConfig, featuresPerImage: number) {
    this.#graph = graph;
    this.#config = config;
    this.#inputs = new Set(config.io.filter(value => value.kind === "input").map(value => value.name));
    this.#featuresPerImage = featuresPerImage;
  }

  get takesImages(): boolean {
    return this.#inputs.has("prompt_embedding_table");
  }

  /** @throws MmtrtError RUN010 with every size of the whole request (prefill and last step) that no profile takes. */
  check(size: RequestSize, at: string): void {
    const { profiles, io } = this.#config;
    const isContext = (profile: EngineProfile): boolean => profile.name.startsWith("context");
    const prefill = this.#shapes(size.batch, size.promptTokens, 0, size.tableRows);
    const last = this.#shapes(size.batch * size.beams, 1, size.promptTokens + size.newTokens - 2, size.tableRows);
    const problems = [
      ...checkProfiles(profiles.filter(isContext), io, prefill, at),
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
    const past = Math.max(-1, ...profiles.map(({ name, sizes }) => (name.startsWith("context") ? -1 : pastOf(sizes))));
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
    return DecodingRows.start(this.#graph, this.#config, prompts, feeds, attended);
  }

  #shapes(batch: number, seq: number, past: number, tableRows: number): InputShapes {
    const all: InputShapes = {
      input_ids: [batch, seq],
      position_ids: [batch, seq],
      last_token_ids: [batch],
      attention_mask: [batch, past + seq],
      cache_lengths: [batch],
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

/** What an encoder gives a decoder: the same at every step, one row for each row that is decoded. */
export interface Attended {
  feeds(): Feeds;
  /** Row i becomes what row `rows[i]` was. */
  select(rows: readonly number[]): void;
}

/** A generation profile of a static cache names no past: its capacity is the limit. */
function pastOf(sizes: EngineProfile["sizes"]): number {
  return sizes.past?.max ?? -1;
}

function tableIo(io: readonly EngineIo[]): EngineIo | undefined {
  return io.find(value => value.name === "prompt_embedding_table");
}

/**
 * The prompt-table inputs, for as many rows as there are: beams multiply them. Without images the table is one row nobody
 * reads. `featuresPerImage` is what a task has; any value will do while every task is 0.
 */
export function tableFeeds(
  graph: OrtGraph,
  all: readonly EngineIo[],
  featuresPerImage: number,
  table: Features | undefined,
): (rows: number) => Feeds {
  const io = tableIo(all);
  if (io === undefined) return () => ({});
  const width = io.shape[1] ?? 1;
  const { rows, hidden, values } = table ?? { rows: 1, hidden: width, values: new Float32Array(width) };
  const embeddings = fromFloat32(graph, io.dtype, values, [rows, hidden]);
  const vocab = graph.tensor("int32", Int32Array.of(Math.max(1, featuresPerImage)), [1]);
  return batch => ({
    prompt_embedding_table: embeddings,
    prompt_vocab_size: vocab,
    tasks: graph.tensor("int32", new Int32Array(batch), [batch, 1]),
  });
}

/**
 * Continuous cache: prompts are padded on the left, as transformers does, so that all rows end at the same column.
 * Static cache: on the right, because a row's new tokens are written at its own length.
 */
class DecodingRows implements Decoding {
  readonly vocab: number;
  logits: Float32Array = new Float32Array(0);
  readonly #graph: OrtGraph;
  readonly #table: (rows: number) => Feeds;
  readonly #attended: Attended | undefined;
  readonly #hasPositions: boolean;
  readonly #padLeft: boolean;
  readonly #cache: KvCache;
  /** Tokens each row has taken. */
  #lengths: number[];
  /** Columns of the mask so far, and for each row the first that is not padding. */
  #columns: number;
  #starts: number[];

  private constructor(
    graph: OrtGraph,
    config: LlmEngineConfig,
    lengths: readonly number[],
    table: (rows: number) => Feeds,
    attended: Attended | undefined,
  ) {
    this.#graph = graph;
    this.#table = table;
    this.#attended = attended;
    this.#hasPositions = config.io.some(value => value.name === "position_ids");
    this.#padLeft = config.build_config.kv_cache_type !== "static";
    this.#cache = new KvCache(graph, config.io, lengths.length);
    this.#lengths = [...lengths];
    this.#columns = Math.max(...lengths);
    this.#starts = lengths.map(length => this.#columns - length);
    this.vocab = config.io.find(value => value.name === "logits")?.shape[1] ?? 0;
  }

  static async start(
    graph: OrtGraph,
    config: LlmEngineConfig,
    prompts: readonly (readonly number[])[],
    table: (rows: number) => Feeds,
    attended: Attended | undefined,
  ): Promise<Decoding> {
    const rows = new DecodingRows(
      graph,
      config,
      prompts.map(ids => ids.length),
      table,
      attended,
    );
    await rows.#prefill(prompts);
    return rows;
  }

  get rows(): number {
    return this.#lengths.length;
  }

  async step(tokens: readonly number[]): Promise<void> {
    const positions = this.#lengths;
    const cacheLengths = this.#lengths;
    this.#lengths = this.#lengths.map(length => length + 1);
    this.#columns += 1;
    await this.#run(
      Int32Array.from(tokens),
      Int32Array.from(positions),
      1,
      positions.map(() => 0),
      cacheLengths,
    );
  }

  select(rows: readonly number[]): void {
    if (rows.length === this.rows && rows.every((from, to) => from === to)) return;
    this.#lengths = rows.map(row => this.#lengths[row] as number);
    this.#starts = rows.map(row => this.#starts[row] as number);
    this.#cache.select(rows);
    this.#attended?.select(rows);
    const { logits, vocab } = this;
    this.logits = new Float32Array(rows.length * vocab);
    for (const [to, from] of rows.entries())
      this.logits.set(logits.subarray(from * vocab, (from + 1) * vocab), to * vocab);
  }

  async #prefill(prompts: readonly (readonly number[])[]): Promise<void> {
    const seq = this.#columns;
    const ids = new Int32Array(prompts.length * seq);
    const positions = new Int32Array(prompts.length * seq);
    for (const [row, prompt] of prompts.entries()) {
      const start = row * seq + (this.#padLeft ? seq - prompt.length : 0);
      ids.set(prompt, start);
      for (let i = 0; i < prompt.length; i++) positions[start + i] = i;
    }
    const last = prompts.map(prompt => (this.#padLeft ? seq : prompt.length) - 1);
    await this.#run(
      ids,
      positions,
      seq,
      last,
      prompts.map(() => 0),
    );
  }

  async #run(
    ids: Int32Array,
    positions: Int32Array,
    seq: number,
    last: readonly number[],
    cacheLengths: readonly number[],
  ): Promise<void> {
    const { rows } = this;
    const int32 = (data: Int32Array, dims: readonly number[]): Tensor => this.#graph.tensor("int32", data, dims);
    const outputs = await this.#graph.run({
      input_ids: int32(ids, [rows, seq]),
      ...(this.#hasPositions && { position_ids: int32(positions, [rows, seq]) }),
      last_token_ids: int32(Int32Array.from(last), [rows]),
      ...(this.#padLeft
        ? { attention_mask: int32(this.#mask(), [rows, this.#columns]) }
        : { cache_lengths: int32(Int32Array.from(cacheLengths), [rows]) }),
      ...this.#table(rows),
      ...this.#attended?.feeds(),
      ...this.#cache.feeds(),
    });
    this.#cache.take(outputs);
    this.logits = toFloat32(outputs.logits as Tensor);
  }

  /** 0 for the padding before each row, 1 from there on. */
  #mask(): Int32Array {
    const mask = new Int32Array(this.rows * this.#columns).fill(1);
    for (const [row, start] of this.#starts.entries()) mask.fill(0, row * this.#columns, row * this.#columns + start);
    return mask;
  }
}
