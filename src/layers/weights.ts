import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { type FloatDtype, type LinearForm, linearForm, type QuantSpec } from "../tensor/index.ts";
import type { LoraInputs } from "./lora.ts";

/** Gives layers their weights in the compute dtype, whatever they are stored in. */
export class WeightSource {
  readonly #stored: FloatDtype;
  readonly #quantization: QuantSpec | undefined;
  /** dtype that products are computed in. */
  readonly compute: FloatDtype;
  /** What products may be changed by at run time. */
  readonly adapters: LoraInputs | undefined;

  constructor(stored: FloatDtype, compute: FloatDtype, quantization?: QuantSpec, adapters?: LoraInputs) {
    this.#stored = stored;
    this.compute = compute;
    this.#quantization = quantization;
    this.adapters = adapters;
  }

  /** The tensor `name` of the checkpoint; a cast follows where the engine lacks kernels for the stored dtype and is folded at load. */
  get(g: GraphBuilder, name: string, shape: readonly number[]): Value {
    return g.cast(g.weight(name, this.#stored, shape), this.compute);
  }

  /** The same of a tensor that is float32 whatever the checkpoint's dtype: scales of activations. */
  float32(g: GraphBuilder, name: string, shape: readonly number[]): Value {
    return g.cast(g.weight(name, "float32", shape), this.compute);
  }

  /** How the linear layer `module` ("transformer.layers.0.mlp.fc") is stored. */
  form(module: string): LinearForm {
    return linearForm(this.#quantization, module);
  }
}
