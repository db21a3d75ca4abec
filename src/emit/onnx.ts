import { open, rename, rm } from "node:fs/promises";
import { MmtrtError, type Problem } from "../diagnostics/index.ts";
import {
  encodeModel,
  type OnnxAttribute,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  TAP_PREFIX,
} from "../formats/onnx/schema.ts";
import { ORT_DOMAIN } from "../graph/dialect.ts";
import type { Attribute, Attributes, Graph, GraphFunction, GraphNode, Initializer, Value } from "../graph/graph.ts";
import { byteLength, DTYPES, type Dtype, type Shape, sameShape, showShape } from "../tensor/index.ts";

/** Where the bytes of a checkpoint tensor lie in the weights file. Offsets are from the start of the file. */
export interface WeightLocation {
  readonly dtype: Dtype;
  readonly shape: Shape;
  readonly offset: number;
  /** Another file beside the .onnx than the one of all weights. */
  readonly file?: string;
}

export interface OnnxOptions {
  /** Weights file as the model names it: a plain file name beside the .onnx (both engines refuse `..` and absolute paths). */
  readonly location: string;
  readonly tensors: ReadonlyMap<string, WeightLocation>;
  readonly producerVersion: string;
  /** Taps (graph.taps) that become outputs too, under their tap names; for `verify` and calibration. */
  readonly extraOutputs?: readonly string[];
}

const IR_VERSION = 10;
const FUNCTION_DOMAIN_VERSION = 1;

/** The graph as ONNX bytes. Weights are not copied: their initializers point into the safetensors file, at any alignment. */
export function encodeOnnx(graph: Graph, options: OnnxOptions): Uint8Array {
  const problems: Problem[] = [];
  const initializer = graph.initializers.map(entry => encodeInitializer(entry, options, problems));
  if (problems.length > 0) throw new MmtrtError(problems);
  const tapped = (options.extraOutputs ?? []).map(name => tapNode(graph, name));
  const opsetImport = [{ domain: "", version: graph.opset }];
  const own = graph.nodes.some(({ domain }) => domain === ORT_DOMAIN) ? [ORT_DOMAIN] : [];
  const domains = [...new Set([...graph.functions.map(({ domain }) => domain), ...own])];
  return encodeModel({
    irVersion: IR_VERSION,
    producerName: "mmtrt",
    producerVersion: options.producerVersion,
    opsetImport: [...opsetImport, ...domains.map(domain => ({ domain, version: FUNCTION_DOMAIN_VERSION }))],
    functions: graph.functions.map(fn => encodeFunction(fn, graph.opset)),
    // `verify` turns these inner values of the file into outputs, without the model that the graph was built from.
    metadataProps: [...graph.taps].map(([tap, { name }]) => ({ key: `${TAP_PREFIX}${tap}`, value: name })),
    graph: {
      name: graph.name,
      node: [...graph.nodes.map(encodeNode), ...tapped.map(tap => tap.node)],
      initializer,
      input: graph.inputs.map(valueInfo),
      output: [...graph.outputs.map(valueInfo), ...tapped.map(tap => tap.info)],
    },
  });
}

/** Writes the graph to `file`, aside and then renamed. Returns the bytes written (weights excluded). */
export async function writeOnnx(graph: Graph, file: string, options: OnnxOptions): Promise<number> {
  const bytes = encodeOnnx(graph, options);
  const partial = `${file}.partial`;
  try {
    const handle = await open(partial, "w");
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  return bytes.byteLength;
}

function encodeInitializer({ value, bytes }: Initializer, options: OnnxOptions, problems: Problem[]): OnnxTensor {
  const dims = value.shape as Shape as number[];
  const head = { dims, dataType: DTYPES[value.dtype].onnx, name: value.name };
  if (bytes !== undefined) return { ...head, rawData: bytes };
  const stored = options.tensors.get(value.name);
  if (stored === undefined || !holds(stored, value.dtype, dims)) {
    problems.push(weightMismatch(value, stored, options.location));
    return head;
  }
  return {
    ...head,
    dataLocation: 1,
    externalData: [
      { key: "location", value: stored.file ?? options.location },
      { key: "offset", value: String(stored.offset) },
      { key: "length", value: String(byteLength(stored.dtype, stored.shape)) },
    ],
  };
}

/** safetensors has no INT4: two codes of a row travel in a byte of int8, low half first, which is ONNX's own packing. */
function holds(stored: WeightLocation, dtype: Dtype, dims: Shape): boolean {
  // A vector may be taken for a row: the bytes are the same.
  const row = dims.length === 2 && dims[0] === 1 && stored.shape.length === 1 ? dims.slice(1) : dims;
  if (dtype !== "int4") return stored.dtype === dtype && sameShape(stored.shape, row);
  const packed = [...dims.slice(0, -1), (dims.at(-1) ?? 0) / 2];
  return stored.dtype === "int8" && sameShape(stored.shape, packed);
}

function weightMismatch(wanted: Value, stored: WeightLocation | undefined, file: string): Problem {
  const expected = `${wanted.dtype} ${showShape(wanted.shape as Shape)}`;
  return {
    code: "GRF001",
    what:
      stored === undefined
        ? `the checkpoint has no tensor ${wanted.name}; the graph needs it as ${expected}`
        : `${wanted.name} is ${stored.dtype} ${showShape(stored.shape)}; the graph needs ${expected}`,
    at: `${file}: ${wanted.name}`,
    why: "the graph is built from the checkpoint's config.json, and its weights must be the ones that config describes",
    fix: "convert the model again with this version of mmtrt",
  };
}

function tapNode(graph: Graph, name: string): { node: OnnxNode; info: OnnxValueInfo } {
  const value = graph.taps.get(name);
  if (value === undefined)
    throw new Error(`graph ${graph.name} has no tap ${name}; it has ${[...graph.taps.keys()].join(", ")}`);
  const output = `tap/${name}`;
  return {
    node: { opType: "Identity", name: output, input: [value.name], output: [output], attribute: [] },
    info: valueInfo({ ...value, name: output }),
  };
}

function valueInfo({ name, dtype, shape }: Value): OnnxValueInfo {
  const dim = shape.map(size => (typeof size === "number" ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: DTYPES[dtype].onnx, shape: { dim } } } };
}

function encodeNode(node: GraphNode): OnnxNode {
  const input = node.inputs.map(value => value?.name ?? "");
  return {
    opType: node.op,
    domain: node.domain,
    name: node.name,
    input,
    output: node.outputs.map(value => value.name),
    attribute: encodeAttributes(node.attributes),
  };
}

function encodeFunction(fn: GraphFunction, opset: number): GraphFunctionProto {
  const node = fn.nodes.map(body => ({
    opType: body.op,
    ...(body.domain !== undefined && { domain: body.domain }),
    input: [...body.inputs],
    output: [...body.outputs],
    attribute: encodeAttributes(body.attributes ?? {}),
  }));
  const domains = [...new Set(fn.nodes.flatMap(({ domain = "" }) => (domain === "" ? [] : [domain])))];
  return {
    name: fn.name,
    domain: fn.domain,
    input: [...fn.inputs],
    output: [...fn.outputs],
    attribute: [...fn.attributes],
    node,
    opsetImport: [
      { domain: "", version: opset },
      ...domains.map(domain => ({ domain, version: FUNCTION_DOMAIN_VERSION })),
    ],
  };
}

type GraphFunctionProto = Parameters<typeof encodeModel>[0]["functions"][number];

function encodeAttributes(attributes: Attributes): OnnxAttribute[] {
  return Object.entries(attributes).map(([name, attribute]) => ({ name, ...encodeAttribute(attribute) }));
}

const ATTRIBUTE_TYPE = { float: 1, int: 2, text: 3, tensor: 4, floats: 6, ints: 7 } as const;

function encodeAttribute(attribute: Attribute): Omit<OnnxAttribute, "name"> {
  if ("ref" in attribute) return { type: ATTRIBUTE_TYPE[attribute.type], refAttrName: attribute.ref };
  if ("int" in attribute) return { type: ATTRIBUTE_TYPE.int, i: attribute.int };
  if ("float" in attribute) return { type: ATTRIBUTE_TYPE.float, f: attribute.float };
  if ("text" in attribute) return { type: ATTRIBUTE_TYPE.text, s: new TextEncoder().encode(attribute.text) };
  if ("ints" in attribute) return { type: ATTRIBUTE_TYPE.ints, ints: [...attribute.ints] };
  if ("tensor" in attribute) {
    const { dtype, shape, bytes } = attribute.tensor;
    const tensor = { dims: [...shape], dataType: DTYPES[dtype].onnx, name: "", rawData: bytes };
    return { type: ATTRIBUTE_TYPE.tensor, t: tensor };
  }
  return { type: ATTRIBUTE_TYPE.floats, floats: [...attribute.floats] };
}
