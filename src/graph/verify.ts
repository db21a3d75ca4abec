import { ORT_DOMAIN } from "./dialect.ts";
import type { Graph, Value } from "./graph.ts";

/** What is wrong with a graph, in words; an empty list is a graph that both engines can load. */
export function verifyGraph(graph: Graph): readonly string[] {
  const wrong: string[] = [];
  const defined = new Map<string, Value>();
  const define = (value: Value, by: string): void => {
    if (defined.has(value.name)) wrong.push(`${value.name} is defined twice, again by ${by}`);
    defined.set(value.name, value);
  };
  for (const value of graph.inputs) define(value, "the inputs");
  for (const { value } of graph.initializers) define(value, "the initializers");
  const used = new Set(graph.outputs.map(value => value.name));
  for (const node of graph.nodes) {
    for (const input of node.inputs) {
      if (input === undefined) continue;
      if (defined.get(input.name) !== input) wrong.push(`${node.name} uses ${input.name} before it exists`);
      used.add(input.name);
    }
    if (
      node.domain !== "" &&
      node.domain !== ORT_DOMAIN &&
      !graph.functions.some(fn => fn.domain === node.domain && fn.name === node.op)
    )
      wrong.push(`${node.name} calls ${node.domain}::${node.op}, which has no body`);
    for (const output of node.outputs) define(output, node.name);
  }
  for (const value of graph.outputs) if (!defined.has(value.name)) wrong.push(`output ${value.name} is not computed`);
  for (const { value } of graph.initializers)
    if (!used.has(value.name)) wrong.push(`initializer ${value.name} is used by no node`);
  for (const node of graph.nodes)
    if (node.outputs.every(output => !used.has(output.name))) wrong.push(`nobody uses ${node.name}`);
  return wrong;
}
