import { functionFrom } from "../../graph/body.ts";
import type { OutputType } from "../../graph/builder.ts";
import type { Attribute, Attributes, Graph, GraphFunction, Value } from "../../graph/graph.ts";
import { GraphBuilder } from "../../graph/ops.ts";
import type { Dtype, FloatDtype } from "../../tensor/index.ts";

/** A fused operation by the names of its plugin.yaml, in its order; a test compares the two. */
export interface FusedOp {
  readonly name: string;
  readonly version: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** An optional input that is left out: the scalar in its place, which changes nothing in the body. */
export interface LeftOut {
  readonly dtype: Dtype;
  /** 0 for what the body adds, 1 for what it multiplies or divides by. */
  readonly neutral: 0 | 1;
}

/** One use of it. `body` gives the outputs in standard operators, from the inputs by name. */
export interface FusedCall {
  /** A dtype instead of a value: an optional input that is left out and would be added. */
  readonly inputs: Readonly<Record<string, Value | FloatDtype | LeftOut>>;
  readonly outputs: readonly OutputType[];
  readonly attributes: Attributes;
  body(g: GraphBuilder, inputs: Readonly<Record<string, Value>>, attributes: Attributes): readonly Value[];
}

const DOMAIN = "mmtrt";

/**
 * The operation as one node that a plugin may take, with the body that runs where none does. undefined where the graph has
 * no nodes for it, or where a node of this name has another body: the caller then writes the standard operators in place.
 */
export function fused(g: GraphBuilder, op: FusedOp, call: FusedCall): readonly Value[] | undefined {
  if (!g.plugins.has(op.name)) return undefined;
  const inputs = op.inputs.map(name => {
    const given = call.inputs[name];
    if (given === undefined) throw new Error(`${op.name} gets no ${name}`);
    if (typeof given === "string") return leftOut(g, given);
    return "neutral" in given ? leftOut(g, given.dtype, given.neutral) : given;
  });
  const record = new GraphBuilder(op.name, g.dialect);
  const formal = Object.fromEntries(
    inputs.map(({ dtype, shape }, i) => [op.inputs[i], record.input(op.inputs[i] as string, dtype, shape)]),
  );
  const results = call.body(record, formal, referencesTo(call.attributes));
  for (const [index, value] of results.entries()) record.output(value, op.outputs[index] as string);
  return pluginNode(g, op, { record: record.finish(), names: op.inputs, inputs }, call);
}

/** A recorded body, its names of the operation's inputs in the operation's order, and what the node is given for them. */
export interface RecordedCall {
  readonly record: Graph;
  readonly names: readonly string[];
  readonly inputs: readonly Value[];
}

/** How TensorRT finds the plugin of an operation's name. */
export function nodeAttributes({ version }: FusedOp): Attributes {
  return { plugin_namespace: { text: DOMAIN }, plugin_version: { text: version } };
}

/** A function of an operation's name that is its body already, for calls with and without those attributes. */
export function nodeFunction(body: GraphFunction, op: FusedOp): GraphFunction {
  return { ...body, attributes: [...body.attributes, ...Object.keys(nodeAttributes(op))] };
}

/**
 * The node for a body. TensorRT looks for a plugin of the op's name in the namespace and version that the node's attributes
 * give, and takes the function of that name where there is none. Parsers know functions by name alone, so all nodes of a
 * name share one body, and undefined says that this one would have another.
 */
export function pluginNode(
  g: GraphBuilder,
  op: FusedOp,
  { record, names, inputs }: RecordedCall,
  { outputs, attributes }: Pick<FusedCall, "outputs" | "attributes">,
): readonly Value[] | undefined {
  const { name, outputs: outputNames } = op;
  const all: Attributes = { ...attributes, ...nodeAttributes(op) };
  const declared = { domain: DOMAIN, name, attributes: Object.keys(all) };
  const made = functionFrom(
    record,
    declared,
    names,
    record.outputs.map(output => output.name),
  );
  if (made.outputs.length !== outputNames.length) throw new Error(`${name} has ${outputNames.length} outputs`);
  const known = g.functionCalled(DOMAIN, name);
  if (known !== undefined && !sameFunction(known, made)) return undefined;
  for (const inner of record.functions) g.define(inner);
  return g.calls(known ?? made, inputs, outputs, all);
}

/** The kernels are for these element types. */
export function isHalf(x: Value): x is Value & { readonly dtype: "float16" | "bfloat16" } {
  return x.dtype === "float16" || x.dtype === "bfloat16";
}

/**
 * Stands for an optional input that is left out: parsers of TensorRT take no empty names, neither of plugins nor of
 * functions. A scalar is no shape that an optional input has; 0 lets a body add it all the same, and 1 multiply by it.
 */
export function leftOut(g: GraphBuilder, dtype: Dtype, neutral: LeftOut["neutral"] = 0): Value {
  return dtype === "int32" ? g.int32(neutral) : g.scalar(neutral, dtype);
}

function sameFunction(a: GraphFunction, b: GraphFunction): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** Inside a body an attribute is the calling node's. */
function referencesTo(attributes: Attributes): Attributes {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, referenceTo(name, value)]));
}

function referenceTo(ref: string, attribute: Attribute): Attribute {
  return { ref, type: "int" in attribute ? "int" : "float" };
}
