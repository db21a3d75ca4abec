import type { Attribute, Graph, Value } from "../../src/graph/graph.ts";

/** The graph as text, a line a value or node, for tests to compare. */
export function printGraph(graph: Graph): string {
  const typed = (value: Value): string => `${value.name}: ${value.dtype}[${value.shape.join(", ")}]`;
  const weights = graph.initializers.filter(({ bytes }) => bytes === undefined);
  return [
    `graph ${graph.name} (opset ${graph.opset})`,
    ...graph.inputs.map(value => `  in     ${typed(value)}`),
    ...weights.map(({ value }) => `  weight ${typed(value)}`),
    ...graph.nodes.map(node => {
      const inputs = node.inputs.map(input => input?.name ?? "–").join(", ");
      const attributes = Object.entries(node.attributes)
        .map(([key, attribute]) => ` ${key}=${printAttribute(attribute)}`)
        .join("");
      return `  ${node.outputs.map(typed).join(", ")} = ${node.domain === "" ? "" : `${node.domain}::`}${node.op}(${inputs})${attributes}`;
    }),
    ...graph.outputs.map(value => `  out    ${typed(value)}`),
  ].join("\n");
}

function printAttribute(attribute: Attribute): string {
  if ("ref" in attribute) return `@${attribute.ref}`;
  return JSON.stringify(Object.values(attribute)[0]);
}
