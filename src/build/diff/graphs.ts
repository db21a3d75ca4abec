import { readOnnx } from "../../formats/onnx/read.ts";
import { type OnnxModel, type OnnxNode, type OnnxValueInfo, tensorTypeOf } from "../../formats/onnx/schema.ts";

/** Inputs, outputs, operators by number, and the first node that is another. */
export async function graphDifferences(first: string, second: string): Promise<readonly string[]> {
  const [a, b] = [await readOnnx(first), await readOnnx(second)];
  const found = [
    ...valueDifferences("input", a.graph.input, b.graph.input),
    ...valueDifferences("output", a.graph.output, b.graph.output),
    ...operatorDifferences(a, b),
    ...firstNode(a.graph.node, b.graph.node),
    // Last: another dtype is one line for every tensor.
    ...initializerDifferences(a, b),
  ];
  return found.length === 0 ? ["the same nodes; weights lie elsewhere in their file, or metadata differs"] : found;
}

function valueDifferences(kind: string, a: readonly OnnxValueInfo[], b: readonly OnnxValueInfo[]): string[] {
  const form = (value: OnnxValueInfo): string => {
    const { elemType, dims } = tensorTypeOf(value);
    return `type ${elemType} [${dims.map(dim => dim.dimParam || (dim.dimValue ?? "?")).join(", ")}]`;
  };
  const [own, other] = [a, b].map(values => new Map(values.map(value => [value.name, form(value)])));
  return names(own, other).flatMap(name => {
    const [x, y] = [own?.get(name), other?.get(name)];
    if (x === y) return [];
    if (x === undefined || y === undefined) return [`${kind} ${name} ${x === undefined ? "is new" : "is gone"}`];
    return [`${kind} ${name} ${x} → ${y}`];
  });
}

function operatorDifferences(a: OnnxModel, b: OnnxModel): string[] {
  const [own, other] = [a, b].map(({ graph }) => {
    const counts = new Map<string, number>();
    for (const { opType } of graph.node) counts.set(opType, (counts.get(opType) ?? 0) + 1);
    return counts;
  });
  return names(own, other).flatMap(op => {
    const [x, y] = [own?.get(op) ?? 0, other?.get(op) ?? 0];
    return x === y ? [] : [`operator ${op} ${x} → ${y} times`];
  });
}

function initializerDifferences(a: OnnxModel, b: OnnxModel): string[] {
  const form = (model: OnnxModel): Map<string, string> =>
    new Map(model.graph.initializer.map(({ name, dataType, dims }) => [name, `type ${dataType} [${dims.join(", ")}]`]));
  const [own, other] = [form(a), form(b)];
  return names(own, other).flatMap(name => {
    const [x, y] = [own.get(name), other.get(name)];
    return x === y
      ? []
      : [`initializer ${name} ${x ?? "is new:"} ${x === undefined || y === undefined ? "" : "→ "}${y ?? "is gone"}`];
  });
}

function firstNode(a: readonly OnnxNode[], b: readonly OnnxNode[]): string[] {
  const text = (node: OnnxNode | undefined): string => JSON.stringify(node ?? null);
  const at = Array.from({ length: Math.max(a.length, b.length) }, (_, i) => i).find(i => text(a[i]) !== text(b[i]));
  if (at === undefined) return [];
  const show = (node: OnnxNode | undefined): string =>
    node === undefined ? "none" : `${node.opType} ${node.name || (node.output[0] ?? "")}`;
  return [`first other node, number ${at}: ${show(a[at])} → ${show(b[at])}`];
}

function names(a: ReadonlyMap<string, unknown> | undefined, b: ReadonlyMap<string, unknown> | undefined): string[] {
  return [...new Set([...(a?.keys() ?? []), ...(b?.keys() ?? [])])];
}
