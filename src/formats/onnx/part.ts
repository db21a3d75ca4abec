import { modelType } from "./schema.ts";

/** A run of a model's nodes as a model of its own. */
export interface OnnxPart {
  /** By place in the whole model. */
  readonly nodes: { readonly start: number; readonly end: number };
  readonly inputs: readonly OnnxPartInput[];
  /** Their types are left for the reader to infer. */
  readonly outputs: readonly string[];
  readonly initializers: ReadonlySet<string>;
}

export interface OnnxPartInput {
  readonly name: string;
  /** TensorProto.DataType. */
  readonly elemType: number;
  /** undefined where a size depends on the request. */
  readonly shape: readonly (number | undefined)[];
}

interface Fields {
  readonly graph: { readonly node: readonly unknown[]; readonly initializer: readonly { readonly name: string }[] };
  readonly [field: string]: unknown;
}

/**
 * Cuts pieces out of a model's bytes. Nodes, weights and functions are copied as they were decoded, with no field added:
 * an attribute that names a function's parameter is told from a plain one by the presence of a field.
 */
export function partsOf(bytes: Uint8Array): (part: OnnxPart) => Uint8Array {
  const whole = modelType.decode(bytes) as unknown as Fields;
  return ({ nodes, inputs, outputs, initializers }) => {
    const graph = {
      name: "part",
      node: whole.graph.node.slice(nodes.start, nodes.end),
      initializer: whole.graph.initializer.filter(({ name }) => initializers.has(name)),
      input: inputs.map(valueInfo),
      output: outputs.map(name => ({ name })),
    };
    return modelType.encode({ ...whole, graph } as Record<string, unknown>).finish();
  };
}

function valueInfo({ name, elemType, shape }: OnnxPartInput): object {
  const dim = shape.map(size => (size === undefined ? {} : { dimValue: size }));
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}
