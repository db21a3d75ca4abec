import type { FunctionNode, Graph, GraphFunction } from "./graph.ts";

/**
 * A recorded graph as the body of a model-local function: its constants become nodes, and its inputs are renamed as
 * `inputs` says (the function's name of an input → the recorded one). Names that the record lacks are inputs that the body
 * has no use for.
 */
export function functionFrom(
  record: Graph,
  { domain, name, attributes }: Pick<GraphFunction, "domain" | "name" | "attributes">,
  inputs: readonly string[],
  outputs: readonly string[],
): GraphFunction {
  for (const { value, bytes } of record.initializers)
    if (bytes === undefined)
      throw new Error(`the body of ${name} uses the weight ${value.name}, which must be an input`);
  if (record.outputs.length !== outputs.length)
    throw new Error(`the body of ${name} has ${record.outputs.length} outputs, the function ${outputs.length}`);
  for (const { name: input } of record.inputs)
    if (!inputs.includes(input)) throw new Error(`the body of ${name} takes ${input}, which is no input of it`);
  const constants = record.initializers.map(
    ({ value, bytes }): FunctionNode => ({
      op: "Constant",
      inputs: [],
      outputs: [value.name],
      attributes: {
        value: { tensor: { dtype: value.dtype, shape: value.shape as number[], bytes: bytes as Uint8Array } },
      },
    }),
  );
  const nodes = record.nodes.map(
    (node): FunctionNode => ({
      op: node.op,
      ...(node.domain !== "" && { domain: node.domain }),
      inputs: node.inputs.map(input => input?.name ?? ""),
      outputs: node.outputs.map(output => output.name),
      attributes: node.attributes,
    }),
  );
  return { domain, name, inputs, outputs, attributes, nodes: [...constants, ...nodes] };
}
