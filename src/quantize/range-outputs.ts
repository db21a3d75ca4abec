import type { Graph, GraphNode, Initializer, Value } from "../graph/graph.ts";
import { moduleOf } from "../tensor/index.ts";

/** Where the values of one product come out of a calibration graph. */
export interface RangeOutput {
  /** "transformer.layers.0.mlp.fc". */
  readonly module: string;
  /** Largest |x| of each input channel, float [inputs]. */
  readonly x: string;
  /** Largest |y| of each output, bias included, float [outputs]. */
  readonly y: string;
  /** The rows of x that the input `calibration_rows` names, float [1, rows, inputs]. */
  readonly rows: string;
}

/** int32 [rows]: which tokens' activations are kept. */
export const ROWS_INPUT = "calibration_rows";

/**
 * The graph with the ranges of every linear layer of the decoder as outputs. Reducing inside the graph keeps what
 * leaves it at a few numbers a channel, however long the text is. Weights must be plain, and one rank has them all.
 */
export function withRangeOutputs(graph: Graph, keepsRows: boolean): { graph: Graph; outputs: RangeOutput[] } {
  const extra = new ExtraNodes(graph);
  const rowsInput: Value = { name: ROWS_INPUT, dtype: "int32", shape: [ROWS_INPUT] };
  const outputs = graph.initializers.flatMap(({ value }) => {
    const module = moduleOf(value.name);
    if (module === undefined) return [];
    const product = extra.productOf(value);
    const biased = extra.biasedSum(product.outputs[0] as Value, `${module}.bias`);
    const x = product.inputs[0] as Value;
    // lm_head reads the last token of each text, [batch, hidden]: there is no place in a text to keep rows of.
    if (x.shape.length !== 3) return [];
    return [
      { module, x: extra.largest(x), y: extra.largest(biased), rows: keepsRows ? extra.rowsOf(x, rowsInput) : "" },
    ];
  });
  return {
    graph: {
      ...graph,
      inputs: keepsRows ? [...graph.inputs, rowsInput] : graph.inputs,
      outputs: [...graph.outputs, ...extra.outputs],
      nodes: [...graph.nodes, ...extra.nodes],
      initializers: [...graph.initializers, ...extra.initializers],
    },
    outputs,
  };
}

class ExtraNodes {
  readonly nodes: GraphNode[] = [];
  readonly outputs: Value[] = [];
  readonly initializers: Initializer[];
  readonly #users = new Map<string, GraphNode[]>();
  /** By the value reduced: q, k and v share theirs, and so do fc and gate. */
  readonly #made = new Map<string, string>();
  readonly #axes: Value = { name: "calibration/axes", dtype: "int64", shape: [2] };

  constructor({ nodes }: Graph) {
    this.initializers = [{ value: this.#axes, bytes: new Uint8Array(new BigInt64Array([0n, 1n]).buffer) }];
    for (const node of nodes) {
      for (const input of node.inputs) {
        if (input !== undefined) this.#users.set(input.name, [...(this.#users.get(input.name) ?? []), node]);
      }
    }
  }

  /** The MatMul that a weight is the second input of, behind its cast and transpose. */
  productOf(weight: Value): GraphNode {
    let value = weight;
    for (;;) {
      const user = this.#users.get(value.name)?.[0];
      if (user?.op === "MatMul" && user.inputs[1]?.name === value.name) return user;
      if (user?.op !== "Cast" && user?.op !== "Transpose") throw new Error(`${weight.name} is in no plain product`);
      value = user.outputs[0] as Value;
    }
  }

  /** The product with its bias, if it has one. */
  biasedSum(product: Value, bias: string): Value {
    for (const user of this.#users.get(product.name) ?? []) {
      const other = user.inputs.find(input => input !== undefined && input.name !== product.name);
      const cast = this.#users.get(bias)?.[0];
      const names = [bias, cast?.op === "Cast" ? cast.outputs[0]?.name : undefined];
      if (user.op === "Add" && other !== undefined && names.includes(other.name)) return user.outputs[0] as Value;
    }
    return product;
  }

  /** max |x| over batch and sequence. */
  largest(x: Value): string {
    return this.#once(`range/${x.name}`, name => {
      const size: Value = { ...x, name: `${name}/Abs` };
      this.#add("Abs", [x], size);
      const output: Value = { name, dtype: x.dtype, shape: x.shape.slice(-1) };
      this.#add("ReduceMax", [size, this.#axes], output, { keepdims: { int: 0 } });
      return output;
    });
  }

  rowsOf(x: Value, rows: Value): string {
    return this.#once(`rows/${x.name}`, name => {
      const output: Value = { name, dtype: x.dtype, shape: [x.shape[0] ?? 1, ROWS_INPUT, x.shape[2] ?? 1] };
      this.#add("Gather", [x, rows], output, { axis: { int: 1 } });
      return output;
    });
  }

  #once(name: string, make: (name: string) => Value): string {
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    this.outputs.push(make(name));
    this.#made.set(name, name);
    return name;
  }

  #add(op: string, inputs: readonly Value[], output: Value, attributes: GraphNode["attributes"] = {}): void {
    this.nodes.push({ name: `${output.name}/${op}`, op, domain: "", inputs, outputs: [output], attributes });
  }
}
