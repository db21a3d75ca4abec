import type { EngineIo } from "../formats/engine-config.ts";
import type { Feeds, Fetches, OrtGraph, Tensor } from "./ort.ts";

type RowData = Float32Array | Uint16Array | Int32Array | Int8Array;

/**
 * Keys and values of every layer between two steps. Outputs of a step are the next step's inputs as they are: nothing
 * is copied but by `select`.
 */
export class KvCache {
  readonly #inputs: readonly EngineIo[];
  readonly #graph: OrtGraph;
  #tensors: Tensor[];

  /** Empty for `batch` rows: past_… have length 0, cache_… (static) their whole capacity. */
  constructor(graph: OrtGraph, io: readonly EngineIo[], batch: number) {
    this.#graph = graph;
    this.#inputs = io.filter(value => value.kind === "input" && /^(past|cache)_(key|value)_\d+$/.test(value.name));
    this.#tensors = this.#inputs.map(({ name, dtype, shape }) => {
      const capacity = name.startsWith("past_") ? 0 : (shape[2] as number);
      const dims = [batch, shape[1] as number, capacity, shape[3] as number];
      const size = dims.reduce((product, dim) => product * dim, 1);
      if (dtype === "int8") return graph.tensor("int8", new Int8Array(size), dims);
      return dtype === "float16"
        ? graph.tensor("float16", new Uint16Array(size), dims)
        : graph.tensor("float32", new Float32Array(size), dims);
    });
  }

  feeds(): Feeds {
    return Object.fromEntries(this.#inputs.map(({ name }, i) => [name, this.#tensors[i] as Tensor]));
  }

  take(outputs: Fetches): void {
    this.#tensors = this.#inputs.map(({ name }) => outputs[outputOf(name)] as Tensor);
  }

  /** Row i becomes what row `rows[i]` was: beams are copied, swapped and dropped this way. */
  select(rows: readonly number[]): void {
    this.#tensors = this.#tensors.map(tensor => pickRows(this.#graph, tensor, rows));
  }
}

/** A tensor whose row i is row `rows[i]` of another. */
export function pickRows(graph: OrtGraph, tensor: Tensor, rows: readonly number[]): Tensor {
  const [, ...rest] = tensor.dims;
  const data = tensor.data as RowData;
  const stride = rest.reduce((product, dim) => product * dim, 1);
  const picked = new (data.constructor as new (length: number) => RowData)(rows.length * stride);
  for (const [to, from] of rows.entries()) picked.set(data.subarray(from * stride, (from + 1) * stride), to * stride);
  const { type } = tensor;
  const known = type === "float16" || type === "int32" || type === "int8" ? type : "float32";
  return graph.tensor(known, picked, [rows.length, ...rest]);
}

/** past_key_0 → present_key_0; cache_key_0 → cache_key_0_out. */
function outputOf(input: string): string {
  return input.startsWith("past_") ? `present_${input.slice("past_".length)}` : `${input}_out`;
}
