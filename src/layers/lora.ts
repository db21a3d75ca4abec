import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import {
  type FloatDtype,
  LORA_TASK_IDS,
  type LoraGraph,
  type LoraModule,
  loraInput,
  loraSizes,
} from "../tensor/index.ts";
import { lora } from "./fused/lora.ts";

/** Names of the sizes that depend on the adapters loaded: how many with "none", and the largest rank. */
const LORA_DIMS = { adapters: "adapters", rank: "lora_rank" } as const;

/** `transformer.layers.0.attention.qkv`: the layer, and the product in it. */
const PRODUCT = /^transformer\.layers\.(\d+)\.(.+)$/;

/** Where a rank's layers are in the model. */
interface LoraPlace {
  readonly firstLayer: number;
  readonly tpSize: number;
}

/**
 * Adapters as inputs of a graph. Each targeted product has lora_A_… [adapters, lora_rank, in] and lora_B_…
 * [adapters, out, lora_rank], all loaded adapters one after the other as their files have them; adapter 0 is zeros, and
 * smaller ranks are padded with zeros. `lora_task_ids` [batch] says which one an item has.
 */
export class LoraInputs {
  readonly #lora: LoraGraph;
  readonly #place: LoraPlace;
  readonly #dtype: FloatDtype;
  #tasks: Value | undefined;

  constructor(lora: LoraGraph, place: LoraPlace, dtype: FloatDtype) {
    this.#lora = lora;
    this.#place = place;
    this.#dtype = dtype;
  }

  /** Whether adapters change the product `name`. */
  changes(name: string): boolean {
    const parts = this.#partsOf(name);
    return parts.some(({ name: module }) => this.#lora.targets.includes(module));
  }

  /**
   * y + x·A[task]ᵀ·B[task]ᵀ for the product `name` (`transformer.layers.0.attention.qkv`) of this rank, x [batch, seq, in];
   * y itself for a product without adapters. Of a row-parallel product this is the rank's summand, as y is.
   */
  add(g: GraphBuilder, name: string, x: Value, y: Value): Value {
    if (!this.changes(name)) return y;
    const parts = this.#partsOf(name);
    const [, layer] = PRODUCT.exec(name) ?? [];
    const isTarget = (module: LoraModule): boolean => this.#lora.targets.includes(module.name);
    const adapted = (module: LoraModule, base: Value): Value =>
      isTarget(module) ? this.#adapted(g, this.#place.firstLayer + Number(layer), module, x, base) : base;
    return g.scope("lora", () => {
      const [only, ...others] = parts as [LoraModule, ...LoraModule[]];
      if (others.length === 0) return adapted(only, y);
      // q, k and v are one product here, and have adapters of their own.
      const sizes = parts.map(part => loraSizes(part, this.#place.tpSize).out);
      const pieces = g.split(y, sizes, 2);
      return g.concat(
        parts.map((part, i) => adapted(part, pieces[i] as Value)),
        2,
      );
    });
  }

  #partsOf(name: string): readonly LoraModule[] {
    const [, , product] = PRODUCT.exec(name) ?? [];
    return this.#lora.modules.filter(module => module.product === product);
  }

  #adapted(g: GraphBuilder, layer: number, module: LoraModule, x: Value, base: Value): Value {
    const sizes = loraSizes(module, this.#place.tpSize);
    const { adapters, rank } = LORA_DIMS;
    this.#tasks ??= g.input(LORA_TASK_IDS, "int32", ["batch"]);
    const a = g.input(loraInput("A", layer, module.name), this.#dtype, [adapters, rank, sizes.in]);
    const b = g.input(loraInput("B", layer, module.name), this.#dtype, [adapters, sizes.out, rank]);
    return lora(g, { base, x, a, b, task: this.#tasks });
  }
}
