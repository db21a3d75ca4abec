import type { EngineIo } from "../formats/engine-config.ts";
import { type CacheData, cacheInputs, emptyData, emptyLike } from "./kv-cache.ts";
import type { Feeds, Fetches, OrtGraph, Tensor } from "./ort.ts";

/** Page `to` becomes a copy of page `from`. */
export interface BlockCopy {
  readonly from: number;
  readonly to: number;
}

/** How many have each page of a pool. Page 0 is nobody's: it fills tables up to the width of the longest. */
export class Pages {
  readonly #users: number[] = [1];
  readonly #free: number[] = [];

  /** Pages that the pool must have. */
  get count(): number {
    return this.#users.length;
  }

  /** Pages that somebody has, page 0 among them. */
  get used(): number {
    return this.#users.length - this.#free.length;
  }

  users(page: number): number {
    return this.#users[page] ?? 0;
  }

  /** A page that nobody has, for one. */
  take(): number {
    const page = this.#free.pop() ?? this.#users.length;
    this.#users[page] = 1;
    return page;
  }

  retain(page: number): void {
    this.#users[page] = this.users(page) + 1;
  }

  release(page: number): void {
    const left = this.users(page) - 1;
    if (left < 0) throw new Error(`page ${page} is given back by somebody who does not have it`);
    this.#users[page] = left;
    if (left === 0) this.#free.push(page);
  }
}

/** Pages of tokens, [pages, kv_heads, tokens_per_block, head_dim] for the keys and values of each layer, of one cache or of many. */
export class PagePool {
  readonly pages = new Pages();
  /** Tokens of a page. */
  readonly tokens: number;
  readonly #graph: OrtGraph;
  readonly #names: readonly string[];
  #tensors: readonly Tensor[];
  #last: Promise<unknown> = Promise.resolve();

  constructor(graph: OrtGraph, io: readonly EngineIo[]) {
    const inputs = cacheInputs(io);
    this.#graph = graph;
    this.#names = inputs.map(({ name }) => name);
    this.tokens = inputs[0]?.shape[2] ?? 1;
    this.#tensors = inputs.map(({ dtype, shape }) => {
      const dims = [1, shape[1] as number, shape[2] as number, shape[3] as number];
      return graph.tensor(dtype === "int8" || dtype === "float16" ? dtype : "float32", emptyData(dtype, dims), dims);
    });
  }

  /** One after the other: a call replaces the tensors of the whole pool, whoever's pages it writes. */
  exclusive<T>(use: () => Promise<T>): Promise<T> {
    const done = this.#last.then(use);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** Room for every page, and what was copied on write. */
  fit(copies: readonly BlockCopy[]): void {
    this.#tensors = this.#tensors.map(tensor => this.#grown(tensor));
    for (const { data, dims } of this.#tensors) {
      const stride = dims.slice(1).reduce((product, dim) => product * dim, 1);
      for (const { from, to } of copies)
        (data as CacheData).copyWithin(to * stride, from * stride, (from + 1) * stride);
    }
  }

  feeds(): Feeds {
    return Object.fromEntries(this.#names.map((name, i) => [name, this.#tensors[i] as Tensor]));
  }

  /** The outputs lie where the inputs do: new tokens are written into the pool, and none of it is copied for them. */
  into(): Fetches {
    return Object.fromEntries(this.#names.map((name, i) => [`${name}_out`, this.#tensors[i] as Tensor]));
  }

  fill(outputs: Fetches): void {
    this.#tensors = this.#names.map(name => outputs[`${name}_out`] as Tensor);
  }

  /** Half as many pages again and more where some are missing, so that growing costs a copy of each token on average. */
  #grown(tensor: Tensor): Tensor {
    const [pages = 0, ...page] = tensor.dims;
    if (this.pages.count <= pages) return tensor;
    const data = tensor.data as CacheData;
    const wanted = Math.max(this.pages.count, Math.ceil(pages * 1.5));
    const grown = emptyLike(data, (data.length / pages) * wanted);
    grown.set(data as never);
    const type = tensor.type === "float16" || tensor.type === "int8" ? tensor.type : "float32";
    return this.#graph.tensor(type, grown, [wanted, ...page]);
  }
}
