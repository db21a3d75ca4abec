import type { OnnxModel, OnnxNode } from "../../formats/onnx/schema.ts";

/** Where the ranks of a pipeline stage exchange numbers. */
export interface Collective {
  readonly kind: "all_reduce" | "all_gather";
  /** Name of the node: `layers.0/attention/DistCollective`. */
  readonly node: string;
  readonly input: string;
  readonly output: string;
  readonly ranks: number;
}

/** What a rank computes between two collectives; all names are values of the whole graph. */
export interface Segment {
  /** By place in the whole graph. */
  readonly nodes: { readonly start: number; readonly end: number };
  /** Values from outside: graph inputs, results of collectives and of segments before. */
  readonly inputs: readonly string[];
  /** Values that someone after it asks for. */
  readonly outputs: readonly string[];
  readonly initializers: ReadonlySet<string>;
  /** What follows; undefined for the last. */
  readonly ends: Collective | undefined;
  /** Values that nobody asks for after it. */
  readonly done: readonly string[];
}

/**
 * A rank's graph cut at its collectives. Nodes stand in an order in which they can be computed, so a segment is what stands
 * between two of them. `shown` are inner values that are wanted as outputs too.
 */
export function cutAtCollectives({ graph }: OnnxModel, shown: ReadonlySet<string>): readonly Segment[] {
  const weights = new Set(graph.initializer.map(({ name }) => name));
  const results = new Set([...graph.output.map(({ name }) => name), ...shown]);
  const pieces = piecesOf(graph.node);
  const used = pieces.map(({ nodes, ends }) => {
    const own = new Set(nodes.flatMap(({ output }) => output));
    const read = new Set(nodes.flatMap(({ input }) => input).filter(name => name !== ""));
    const outside = [...read].filter(name => !own.has(name));
    return {
      own,
      initializers: new Set(outside.filter(name => weights.has(name))),
      inputs: outside.filter(name => !weights.has(name)),
      ends,
    };
  });
  // From the last piece backwards: what is asked for later on.
  const later = new Set<string>(results);
  const segments: Segment[] = [];
  for (let i = used.length - 1; i >= 0; i--) {
    const { own, inputs, initializers, ends } = used[i] as (typeof used)[number];
    const done = [...inputs, ...(ends ? [ends.input] : [])].filter(name => !later.has(name));
    if (ends !== undefined) later.add(ends.input);
    const outputs = [...own].filter(name => later.has(name));
    for (const name of inputs) later.add(name);
    const { start, end } = pieces[i] as (typeof pieces)[number];
    segments.unshift({ nodes: { start, end }, inputs, outputs, initializers, ends, done });
  }
  return segments;
}

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly nodes: readonly OnnxNode[];
  readonly ends: Collective | undefined;
}

function piecesOf(nodes: readonly OnnxNode[]): readonly Piece[] {
  const pieces: Piece[] = [];
  let start = 0;
  for (const [at, node] of nodes.entries()) {
    const ends = collectiveOf(node);
    if (ends === undefined) continue;
    pieces.push({ start, end: at, nodes: nodes.slice(start, at), ends });
    start = at + 1;
  }
  return [...pieces, { start, end: nodes.length, nodes: nodes.slice(start), ends: undefined }];
}

/** TensorRT knows the operator by this name in any domain. */
function collectiveOf(node: OnnxNode): Collective | undefined {
  if (node.opType !== "DistCollective") return undefined;
  const attribute = (name: string): OnnxNode["attribute"][number] | undefined =>
    node.attribute.find(entry => entry.name === name);
  const kind = new TextDecoder().decode(attribute("collective_operation")?.s);
  if (kind !== "all_reduce" && kind !== "all_gather") throw new Error(`${node.name} asks for a collective ${kind}`);
  const [input = "", output = ""] = [node.input[0], node.output[0]];
  return { kind, node: node.name ?? output, input, output, ranks: attribute("nb_rank")?.i ?? 1 };
}
