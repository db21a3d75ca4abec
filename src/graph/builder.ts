import { DTYPES, type Dtype, elementCount } from "../tensor/index.ts";
import { type Dialect, MODERN, NO_PLUGINS, type PluginSet } from "./dialect.ts";
import type { DimShape } from "./dim.ts";
import type { Attributes, Graph, GraphFunction, GraphNode, Initializer, Value } from "./graph.ts";

/** What a node's output is; the name comes from the scope. */
export interface OutputType {
  readonly dtype: Dtype;
  readonly shape: DimShape;
}

/**
 * Collects nodes in order of creation, which is a topological order because a Value exists only after its node.
 * Names are scope paths and unique by construction; a graph that cannot be right throws where it is built.
 */
export class GraphRecorder {
  /** What layers may use; those it lacks are written out. */
  readonly dialect: Dialect;
  /** Operations that become nodes a plugin may take. */
  readonly plugins: PluginSet;
  readonly #name: string;
  readonly #inputs: Value[] = [];
  readonly #outputNames = new Map<Value, string>();
  readonly #nodes: GraphNode[] = [];
  readonly #initializers = new Map<string, Initializer>();
  readonly #constants = new Map<string, Value>();
  readonly #functions = new Map<string, GraphFunction>();
  readonly #taps = new Map<string, Value>();
  readonly #names = new Set<string>();
  #scope: readonly string[] = [];

  constructor(name: string, dialect: Dialect = MODERN, plugins: PluginSet = NO_PLUGINS) {
    this.#name = name;
    this.dialect = dialect;
    this.plugins = plugins;
  }

  input(name: string, dtype: Dtype, shape: DimShape): Value {
    const value = Object.freeze({ name: this.#claim(name), dtype, shape });
    this.#inputs.push(value);
    return value;
  }

  /**
   * Makes `value` the graph's next output under a name of the I/O contract. The value itself gets that name, with no
   * Identity between: TensorRT updates a cache in place only if the update's own result is the network's output.
   */
  output(value: Value, name: string): void {
    if (this.#outputNames.has(value))
      throw new Error(`${value.name} is already output ${this.#outputNames.get(value)}`);
    if (this.#inputs.includes(value)) throw new Error(`input ${value.name} cannot be output ${name} unchanged`);
    this.#outputNames.set(value, this.#claim(name));
  }

  /** A tensor of the checkpoint's weights file, under its checkpoint name. Asking twice gives the same value (tied tables). */
  weight(name: string, dtype: Dtype, shape: readonly number[]): Value {
    const known = this.#initializers.get(name);
    if (known !== undefined) return known.value;
    const value = Object.freeze({ name: this.#claim(name), dtype, shape });
    this.#initializers.set(name, { value, bytes: undefined });
    return value;
  }

  /** A small constant stored in the graph; equal constants are one initializer. */
  constant(dtype: Dtype, shape: readonly number[], bytes: Uint8Array): Value {
    if (bytes.byteLength !== (elementCount(shape) * DTYPES[dtype].bits) / 8)
      throw new Error(`constant of ${bytes.byteLength} bytes is not ${dtype} [${shape}]`);
    const key = `${dtype}|${shape}|${Buffer.from(bytes).toString("base64")}`;
    const known = this.#constants.get(key);
    if (known !== undefined) return known;
    const value = Object.freeze({ name: this.#claim(`constants/${this.#constants.size}`), dtype, shape });
    this.#initializers.set(value.name, { value, bytes });
    this.#constants.set(key, value);
    return value;
  }

  /** Runs `build` with `name` on the scope path: names become `outer/name/Op`. */
  scope<T>(name: string, build: () => T): T {
    const outer = this.#scope;
    this.#scope = [...outer, name];
    try {
      return build();
    } finally {
      this.#scope = outer;
    }
  }

  /** Adds a node with one output. */
  node(
    op: string,
    inputs: readonly (Value | undefined)[],
    output: OutputType,
    attributes: Attributes = {},
    domain = "",
  ): Value {
    return this.nodes(op, inputs, [output], attributes, domain)[0] as Value;
  }

  /** Adds a node with any number of outputs. */
  nodes(
    op: string,
    inputs: readonly (Value | undefined)[],
    outputs: readonly OutputType[],
    attributes: Attributes = {},
    domain = "",
  ): readonly Value[] {
    const name = this.#unique([...this.#scope, op].join("/"));
    const values = outputs.map(({ dtype, shape }, i) =>
      Object.freeze({ name: i === 0 ? name : `${name}.${i}`, dtype, shape }),
    );
    this.#nodes.push({ name, op, domain, inputs, outputs: values, attributes });
    return values;
  }

  /** Adds a call of a model-local function with one output, and its definition once. */
  call(
    fn: GraphFunction,
    inputs: readonly (Value | undefined)[],
    output: OutputType,
    attributes: Attributes = {},
  ): Value {
    return this.calls(fn, inputs, [output], attributes)[0] as Value;
  }

  /** The same with any number of outputs. */
  calls(
    fn: GraphFunction,
    inputs: readonly (Value | undefined)[],
    outputs: readonly OutputType[],
    attributes: Attributes = {},
  ): readonly Value[] {
    for (const key of Object.keys(attributes)) {
      if (!fn.attributes.includes(key)) throw new Error(`function ${fn.name} does not declare attribute ${key}`);
    }
    this.define(fn);
    return this.nodes(fn.name, inputs, outputs, attributes, fn.domain);
  }

  /** Adds a definition that only bodies of other functions call. */
  define(fn: GraphFunction): void {
    const id = `${fn.domain}::${fn.name}`;
    const known = this.#functions.get(id);
    if (known !== undefined && known !== fn) throw new Error(`graph ${this.#name} has two functions called ${id}`);
    this.#functions.set(id, fn);
  }

  /** The function that calls of this name have in this graph; there can be one, for parsers know functions by name alone. */
  functionCalled(domain: string, name: string): GraphFunction | undefined {
    return this.#functions.get(`${domain}::${name}`);
  }

  /** Gives an inner value a stable name for `verify` and calibration. */
  tap(name: string, value: Value): Value {
    if (this.#taps.has(name)) throw new Error(`tap ${name} is set twice`);
    this.#taps.set(name, value);
    return value;
  }

  finish(): Graph {
    const renamed = new Map([...this.#outputNames].map(([value, name]) => [value, Object.freeze({ ...value, name })]));
    const current = (value: Value): Value => renamed.get(value) ?? value;
    return Object.freeze({
      name: this.#name,
      opset: this.dialect.opset,
      inputs: this.#inputs,
      outputs: [...renamed.values()],
      nodes: this.#nodes.map(node => ({
        ...node,
        inputs: node.inputs.map(value => (value === undefined ? undefined : current(value))),
        outputs: node.outputs.map(current),
      })),
      initializers: [...this.#initializers.values()],
      functions: [...this.#functions.values()],
      taps: new Map([...this.#taps].map(([name, value]) => [name, current(value)])),
    });
  }

  #claim(name: string): string {
    if (this.#names.has(name)) throw new Error(`two values are called ${name} in graph ${this.#name}`);
    this.#names.add(name);
    return name;
  }

  #unique(base: string): string {
    let name = base;
    for (let n = 1; this.#names.has(name); n++) name = `${base}_${n}`;
    this.#names.add(name);
    return name;
  }
}
