import type { Call, DecoderCalls } from "./calls.ts";
import type { KvCache } from "./kv-cache.ts";
import type { PromptMarks } from "./marks.ts";
import { AXES } from "./positions.ts";
import { cutsSpan, pieceLengths } from "./spans.ts";

/** Sequences being decoded, with their cache. `logits` are those after the last token of each row. */
export interface Decoding {
  readonly rows: number;
  readonly vocab: number;
  /** rows × vocab; replaced by each step. */
  readonly logits: Float32Array;
  /** Prompt tokens, over all rows, whose keys and values were not computed but known from before. */
  readonly reusedTokens: number;
  /** Appends one token to each row. */
  step(tokens: readonly number[]): Promise<void>;
  /** Row i continues what row `rows[i]` was. */
  select(rows: readonly number[]): void;
  /** Gives back what is shared with other requests; nothing may be called after it. */
  close(): void;
}

interface Rows {
  readonly cache: KvCache;
  /** Tokens each row has taken. */
  readonly lengths: readonly number[];
  /** What each row's next token has for a position besides its index; 0 but behind pictures of M-RoPE. */
  readonly deltas: readonly number[];
  /** For each row the first cached column that is not padding. */
  readonly starts: readonly number[];
  readonly columns: number;
}

/** Rows of a batch over a continuous or a static cache; see `DecoderCalls.padsLeft` for where their padding is. */
export class DecodingRows implements Decoding {
  logits: Float32Array = new Float32Array(0);
  reusedTokens = 0;
  readonly cache: KvCache;
  readonly #calls: DecoderCalls;
  #lengths: readonly number[];
  #deltas: readonly number[];
  #starts: readonly number[];
  #columns: number;

  private constructor(calls: DecoderCalls, { cache, lengths, deltas, starts, columns }: Rows) {
    this.#calls = calls;
    this.cache = cache;
    this.#lengths = lengths;
    this.#deltas = deltas;
    this.#starts = starts;
    this.#columns = columns;
  }

  /** Rows that have taken nothing. */
  static empty(calls: DecoderCalls, rows: number): DecodingRows {
    const zeros = new Array<number>(rows).fill(0);
    const cache = calls.emptyCache(rows);
    return new DecodingRows(calls, { cache, lengths: zeros, deltas: zeros, starts: zeros, columns: 0 });
  }

  /** One row whose first `length` tokens are taken; the last `columns` of them are in `cache`. */
  static resume(calls: DecoderCalls, cache: KvCache, length: number, columns: number): DecodingRows {
    return new DecodingRows(calls, { cache, lengths: [length], deltas: [0], starts: [0], columns });
  }

  /** Rows that were run one by one, as one batch. */
  static join(calls: DecoderCalls, rows: readonly DecodingRows[]): DecodingRows {
    const [only] = rows;
    if (only !== undefined && rows.length === 1) return only;
    const columns = Math.max(...rows.map(row => row.#columns));
    const joined = new DecodingRows(calls, {
      cache: calls.join(rows.map(row => row.cache)),
      lengths: rows.flatMap(row => row.#lengths),
      deltas: rows.flatMap(row => row.#deltas),
      starts: rows.flatMap(row => row.#starts.map(start => start + columns - row.#columns)),
      columns,
    });
    joined.logits = new Float32Array(rows.length * calls.vocab);
    for (const [i, row] of rows.entries()) joined.logits.set(row.logits, i * calls.vocab);
    joined.reusedTokens = rows.reduce((sum, row) => sum + row.reusedTokens, 0);
    return joined;
  }

  get rows(): number {
    return this.#lengths.length;
  }

  /** Columns of the cache in use. */
  get columns(): number {
    return this.#columns;
  }

  get vocab(): number {
    return this.#calls.vocab;
  }

  async step(tokens: readonly number[]): Promise<void> {
    await this.append(
      tokens.map(token => [token]),
      1,
    );
  }

  /**
   * Appends tokens to each row, at most `chunk` columns a call. Rows may differ in length where nothing was taken yet:
   * padding would otherwise come between a row's tokens. `marks` are those of the tokens; their spans are taken whole.
   * @throws MmtrtError RUN010 for spans that no call has room for.
   */
  async append(
    tokens: readonly (readonly number[])[],
    chunk: number,
    marks?: readonly PromptMarks[] | undefined,
  ): Promise<void> {
    const { padsLeft } = this.#calls;
    const columns = Math.max(...tokens.map(({ length }) => length));
    const lead = tokens.map(({ length }) => (padsLeft ? columns - length : 0));
    const taken = this.#lengths;
    const cuts = (column: number): boolean =>
      marks?.some(({ spans }, row) => cutsSpan(spans, column - (lead[row] as number))) ?? false;
    const lengths = pieceLengths(columns, chunk, cuts);
    if (lead.some((count, row) => count > 0 && taken[row] !== 0)) throw new Error("padding between a row's tokens");
    this.#starts = this.#starts.map((start, row) => start + (lead[row] as number));
    this.#lengths = taken.map((count, row) => count + (tokens[row]?.length ?? 0));
    if (this.logits.length !== tokens.length * this.vocab) this.logits = new Float32Array(tokens.length * this.vocab);
    const deltas = this.#deltas;
    let at = 0;
    for (const seq of lengths) {
      await this.#appendPiece({ tokens, lead, taken, deltas, at, seq, marks });
      at += seq;
    }
    this.#deltas = deltas.map((delta, row) => marks?.[row]?.positions?.delta ?? delta);
  }

  select(rows: readonly number[]): void {
    if (rows.length === this.rows && rows.every((from, to) => from === to)) return;
    this.#lengths = rows.map(row => this.#lengths[row] as number);
    this.#deltas = rows.map(row => this.#deltas[row] as number);
    this.#starts = rows.map(row => this.#starts[row] as number);
    this.cache.select(rows);
    this.#calls.select(rows);
    const { logits, vocab } = this;
    this.logits = new Float32Array(rows.length * vocab);
    for (const [to, from] of rows.entries())
      this.logits.set(logits.subarray(from * vocab, (from + 1) * vocab), to * vocab);
  }

  close(): void {
    this.cache.close();
  }

  async #appendPiece(piece: Piece): Promise<void> {
    const { tokens, lead, at, seq } = piece;
    // Where each row's last token lies in this piece; elsewhere the logits are of no use to anybody.
    const last = tokens.map(({ length }, row) => (lead[row] as number) + length - 1 - at);
    const call = {
      ...placed(piece, this.#calls.axes),
      seq,
      last: last.map(index => Math.min(Math.max(index, 0), seq - 1)),
      mask: this.#mask(this.#columns + seq),
      writeAt: piece.taken.map(count => count + at),
    };
    const logits = await this.#calls.run(this.cache, call);
    this.#columns += seq;
    this.#forget();
    if (last.every(index => index >= 0 && index < seq)) {
      this.logits = logits;
      return;
    }
    const { vocab } = this;
    for (const [row, index] of last.entries()) {
      if (index >= 0 && index < seq) this.logits.set(logits.subarray(row * vocab, (row + 1) * vocab), row * vocab);
    }
  }

  /**
   * Lets go of whole blocks that lie behind the sliding window of every token to come. The mask compares columns, whose
   * distances stay what they were, and positions are an input of their own: no number changes.
   */
  #forget(): void {
    const { keeps, blockTokens } = this.#calls;
    if (keeps === undefined) return;
    const columns = Math.floor((this.#columns - keeps) / blockTokens) * blockTokens;
    if (columns <= 0) return;
    this.cache.drop(columns);
    this.#columns -= columns;
    this.#starts = this.#starts.map(start => Math.max(0, start - columns));
  }

  /** 0 for the padding before each row, 1 from there on. */
  #mask(columns: number): Int32Array {
    const mask = new Int32Array(this.rows * columns).fill(1);
    for (const [row, start] of this.#starts.entries())
      mask.fill(0, row * columns, row * columns + Math.min(start, columns));
    return mask;
  }
}

/** Columns `at` … `at + seq` of the tokens that are appended, each row's after `lead` columns of padding. */
interface Piece {
  readonly tokens: readonly (readonly number[])[];
  readonly lead: readonly number[];
  /** Tokens each row had before. */
  readonly taken: readonly number[];
  readonly deltas: readonly number[];
  readonly at: number;
  readonly seq: number;
  readonly marks: readonly PromptMarks[] | undefined;
}

/** Ids, positions and spans of a piece; padding has 0 for all. */
function placed(piece: Piece, axes: number): Pick<Call, "ids" | "positions" | "spans"> {
  const { tokens, lead, at, seq, marks } = piece;
  const size = tokens.length * seq;
  const [ids, left, positions] = [new Int32Array(size), new Int32Array(size), new Int32Array(axes * size)];
  for (const [row, own] of tokens.entries()) {
    const before = lead[row] as number;
    const end = Math.min(own.length, at + seq - before);
    for (let i = Math.max(0, at - before); i < end; i++) {
      const column = row * seq + before + i - at;
      ids[column] = own[i] as number;
      for (let axis = 0; axis < axes; axis++) positions[axis * size + column] = positionOf(piece, row, i, axis);
      left[column] = marks?.[row]?.spans?.[i] ?? 0;
    }
  }
  return { ids, positions, spans: left };
}

function positionOf({ taken, deltas, marks }: Piece, row: number, token: number, axis: number): number {
  const known = marks?.[row]?.positions?.axes[AXES * token + axis];
  return known ?? (taken[row] as number) + token + (deltas[row] as number);
}
