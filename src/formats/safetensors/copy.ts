import { setImmediate } from "node:timers/promises";
import {
  type ByteRange,
  byteLength,
  type Columns,
  cutRanges,
  rowBytes,
  rowCount,
  type TensorRecipe,
} from "../../tensor/index.ts";
import { bufferOf, type FilePool } from "../file.ts";

/** Bytes of a file at once: they stay in a core's cache from the read to the write. */
export const PIECE = 1 << 20;
/** Source bytes of which columns are picked: with the picked ones they fill no more of the cache than a piece does. */
const ROWS = 512 << 10;
/** Bytes copied on this thread before timers, signals and other files get their turn. */
const YIELD_EVERY = 8 << 20;

/** Where copied bytes go; the memory of `chunk` is reused after it returns. */
export type Sink = (chunk: Uint8Array) => void;

/**
 * Copies bytes of files through two pieces of memory that are used again and again, on this thread: fresh buffers cost a
 * page fault for every 4 KB and a thread pool moves each piece to another core's cache, together more than the copy itself.
 */
export class Copier {
  readonly #pool: FilePool;
  readonly #piece: Uint8Array;
  #rows = bufferOf(0);
  #sinceYield = 0;

  constructor(pool: FilePool, piece: Uint8Array) {
    this.#pool = pool;
    this.#piece = piece;
  }

  /** The ranges one after the other in full pieces, so that many short ranges do not become many short writes. */
  async ranges(ranges: readonly ByteRange[], sink: Sink): Promise<void> {
    const piece = this.#piece;
    let filled = 0;
    for (const { file, offset, length } of ranges) {
      for (let done = 0; done < length; ) {
        const part = Math.min(piece.byteLength - filled, length - done);
        await this.#pool.readIntoHere(file, piece.subarray(filled, filled + part), offset + done);
        done += part;
        filled += part;
        if (filled < piece.byteLength) continue;
        await this.#pass(piece.subarray(0, filled), sink);
        filled = 0;
      }
    }
    if (filled > 0) await this.#pass(piece.subarray(0, filled), sink);
  }

  /** Each rank's columns of one tensor: every row is read, or computed, once, whatever the number of ranks. */
  async columns(of: TensorRecipe, ranks: readonly { readonly columns: Columns; readonly sink: Sink }[]): Promise<void> {
    const row = rowBytes(of.dtype, of.shape);
    const column = byteLength(of.dtype, of.shape.slice(2));
    const band = Math.max(1, Math.floor(ROWS / Math.max(1, row)));
    for (let first = 0; first < rowCount(of.shape); first += band) {
      const last = Math.min(rowCount(of.shape), first + band);
      const rows = of.ranges
        ? await this.#read(cutRanges(of.ranges, first * row, last * row), (last - first) * row)
        : await of.readRows(first, last);
      for (const { columns, sink } of ranks) {
        const [skip, take] = [columns.start * column, (columns.end - columns.start) * column];
        await this.#pass(this.#pick(rows, row, skip, take), sink);
      }
    }
  }

  async #read(ranges: readonly ByteRange[], bytes: number): Promise<Uint8Array> {
    if (this.#rows.byteLength < bytes) this.#rows = bufferOf(bytes);
    let filled = 0;
    for (const { file, offset, length } of ranges) {
      await this.#pool.readIntoHere(file, this.#rows.subarray(filled, filled + length), offset);
      filled += length;
    }
    return this.#rows.subarray(0, filled);
  }

  /** `take` bytes behind the first `skip` of every row. */
  #pick(rows: Uint8Array, row: number, skip: number, take: number): Uint8Array {
    const bytes = Math.ceil(rows.byteLength / row) * take;
    const out = bytes <= this.#piece.byteLength ? this.#piece : bufferOf(bytes);
    let to = 0;
    for (let from = skip; from < rows.byteLength; from += row, to += take)
      out.set(rows.subarray(from, from + take), to);
    return out.subarray(0, to);
  }

  async #pass(chunk: Uint8Array, sink: Sink): Promise<void> {
    sink(chunk);
    this.#sinceYield += chunk.byteLength;
    if (this.#sinceYield < YIELD_EVERY) return;
    this.#sinceYield = 0;
    await setImmediate();
  }
}
