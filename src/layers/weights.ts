import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import type { FloatDtype } from "../tensor/index.ts";

/** Gives layers their weights in the compute dtype, whatever they are stored in. */
export class WeightSource {
  readonly #stored: FloatDtype;
  readonly #compute: FloatDtype;

  constructor(stored: FloatDtype, compute: FloatDtype) {
    this.#stored = stored;
    this.#compute = compute;
  }

  /** The tensor `name` of the checkpoint; a cast follows where the engine lacks kernels for the stored dtype and is folded at load. */
  get(g: GraphBuilder, name: string, shape: readonly number[]): Value {
    return g.cast(g.weight(name, this.#stored, shape), this.#compute);
  }
}
