import type { EngineIo } from "../formats/engine-config.ts";
import type { Dtype } from "../tensor/index.ts";
import type { Feeds, Fetches, OrtGraph, Tensor } from "./ort.ts";

export type CacheData = Float32Array | Uint16Array | Int32Array | Int8Array;

/** Keys or values of one layer: `columns` vectors of `headDim` for each head of each row. */
export interface CachePart {
  readonly data: CacheData;
  readonly heads: number;
  readonly columns: number;
  readonly headDim: number;
}

/**
 * Keys and values of every layer between two steps. Outputs of a step are the next step's inputs as they are: nothing
 * is copied but by `select`, `join` and `drop`.
 */
export class KvCache {
  readonly #inputs: readonly EngineIo[];
  readonly #graph: OrtGraph;
  #tensors: readonly Tensor[];

  protected constructor(graph: OrtGraph, inputs: readonly EngineIo[], tensors: readonly Tensor[]) {
    this.#graph = graph;
    this.#inputs = inputs;
    this.#tensors = tensors;
  }

  /** Zeros for `rows` rows: past_… have `columns` of them, cache_… (static) their whole capacity. */
  static empty(graph: OrtGraph, io: readonly EngineIo[], rows: number, columns = 0): KvCache {
    const inputs = cacheInputs(io);
    const tensors = inputs.map(({ name, dtype, shape }) => {
      const dims = [rows, shape[1] as number, isPast(name) ? columns : (shape[2] as number), shape[3] as number];
      return graph.tensor(dtype === "int8" || dtype === "float16" ? dtype : "float32", emptyData(dtype, dims), dims);
    });
    return new KvCache(graph, inputs, tensors);
  }

  /** Caches of one row each as rows of one: with `right`, their last columns meet; without, their first. */
  static join(caches: readonly KvCache[], right: boolean): KvCache {
    const [first] = caches as readonly [KvCache];
    const tensors = first.#tensors.map((one, part) => {
      const parts = caches.map(cache => partOf(cache.#tensors[part] as Tensor));
      const columns = Math.max(...parts.map(({ columns }) => columns));
      const [, heads, , headDim] = one.dims as [number, number, number, number];
      const joined = emptyLike(parts[0]?.data as CacheData, parts.length * heads * columns * headDim);
      const target = { data: joined, heads, columns, headDim };
      for (const [row, source] of parts.entries()) {
        const at = right ? columns - source.columns : 0;
        copyColumns(source, { row: 0, at: 0 }, target, { row, at }, source.columns);
      }
      return tensorLike(first.#graph, one, joined, [parts.length, heads, columns, headDim]);
    });
    return new KvCache(first.#graph, first.#inputs, tensors);
  }

  /** All keys and values, in the order of the graph's inputs. */
  parts(): readonly CachePart[] {
    return this.#tensors.map(partOf);
  }

  /** Copies `count` columns of the first row to [kv_heads, count, head_dim] of each part, or from there. */
  copyOut(at: number, count: number, block: readonly CacheData[]): void {
    for (const [i, part] of this.parts().entries())
      copyColumns(part, { row: 0, at }, columnsOf(part, block[i] as CacheData, count), { row: 0, at: 0 }, count);
  }

  copyIn(at: number, count: number, block: readonly CacheData[]): void {
    for (const [i, part] of this.parts().entries())
      copyColumns(columnsOf(part, block[i] as CacheData, count), { row: 0, at: 0 }, part, { row: 0, at }, count);
  }

  /** Calls over memory that caches share are made one after the other. */
  exclusive<T>(use: () => Promise<T>): Promise<T> {
    return use();
  }

  /** Before a call that writes `seq` tokens of each row from `writeAt` on: tensors of a whole batch need no preparation. */
  reserve(_writeAt: readonly number[], _seq: number): void {}

  feeds(): Feeds {
    return Object.fromEntries(this.#inputs.map(({ name }, i) => [name, this.#tensors[i] as Tensor]));
  }

  /** Where outputs may be written; new memory is taken for the others. A static cache is written where it lies. */
  into(): Fetches {
    return Object.fromEntries(
      this.#inputs.flatMap(({ name }, i) => (isPast(name) ? [] : [[outputOf(name), this.#tensors[i] as Tensor]])),
    );
  }

  take(outputs: Fetches): void {
    this.#tensors = this.#inputs.map(({ name }) => outputs[outputOf(name)] as Tensor);
  }

  /** Row i becomes what row `rows[i]` was: beams are copied, swapped and dropped this way. */
  select(rows: readonly number[]): void {
    this.#tensors = this.#tensors.map(tensor => pickRows(this.#graph, tensor, rows));
  }

  /** Nobody goes on from here: what is shared is given back. */
  close(): void {}

  /** Forgets the first `columns` columns of a growing cache. */
  drop(columns: number): void {
    this.#tensors = this.#tensors.map(tensor => {
      const source = partOf(tensor);
      const [rows, heads, , headDim] = tensor.dims as [number, number, number, number];
      const left = source.columns - columns;
      const data = emptyLike(source.data, rows * heads * left * headDim);
      const target = { data, heads, columns: left, headDim };
      for (let row = 0; row < rows; row++) copyColumns(source, { row, at: columns }, target, { row, at: 0 }, left);
      return tensorLike(this.#graph, tensor, data, [rows, heads, left, headDim]);
    });
  }
}

/** The inputs that are keys and values of earlier tokens, of either kind of cache. */
export function cacheInputs(io: readonly EngineIo[]): readonly EngineIo[] {
  return io.filter(value => value.kind === "input" && /^(past|cache)_(key|value)_\d+$/.test(value.name));
}

/** A row of a part, and a column of it. */
interface Place {
  readonly row: number;
  readonly at: number;
}

/** Copies `count` columns of one row, head by head: columns of a head are next to each other, heads are not. */
function copyColumns(source: CachePart, from: Place, target: CachePart, to: Place, count: number): void {
  const { heads, headDim } = source;
  for (let head = 0; head < heads; head++) {
    const start = ((from.row * heads + head) * source.columns + from.at) * headDim;
    const end = ((to.row * heads + head) * target.columns + to.at) * headDim;
    target.data.set(source.data.subarray(start, start + count * headDim), end);
  }
}

/** Zeros for a cache input. */
export function emptyData(dtype: Dtype, dims: readonly number[]): CacheData {
  const size = dims.reduce((product, dim) => product * dim, 1);
  if (dtype === "int8") return new Int8Array(size);
  return dtype === "float16" ? new Uint16Array(size) : new Float32Array(size);
}

export function emptyLike(data: CacheData, length: number): CacheData {
  return new (data.constructor as new (length: number) => CacheData)(length);
}

/** A tensor whose row i is row `rows[i]` of another. */
export function pickRows(graph: OrtGraph, tensor: Tensor, rows: readonly number[]): Tensor {
  const [, ...rest] = tensor.dims;
  const data = tensor.data as CacheData;
  const stride = rest.reduce((product, dim) => product * dim, 1);
  const picked = emptyLike(data, rows.length * stride);
  for (const [to, from] of rows.entries()) picked.set(data.subarray(from * stride, (from + 1) * stride), to * stride);
  return tensorLike(graph, tensor, picked, [rows.length, ...rest]);
}

function tensorLike(graph: OrtGraph, { type }: Tensor, data: CacheData, dims: readonly number[]): Tensor {
  const known = type === "float16" || type === "int32" || type === "int8" ? type : "float32";
  return graph.tensor(known, data, dims);
}

function partOf({ data, dims }: Tensor): CachePart {
  const [, heads, columns, headDim] = dims as [number, number, number, number];
  return { data: data as CacheData, heads, columns, headDim };
}

/** Columns by themselves, as a part of as many. */
function columnsOf({ heads, headDim }: CachePart, data: CacheData, columns: number): CachePart {
  return { data, heads, columns, headDim };
}

function isPast(name: string): boolean {
  return name.startsWith("past_");
}

/** past_key_0 → present_key_0; cache_key_0 → cache_key_0_out. */
function outputOf(input: string): string {
  return isPast(input) ? `present_${input.slice("past_".length)}` : `${input}_out`;
}
