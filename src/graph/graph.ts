import type { Dtype } from "../tensor/index.ts";
import type { DimShape } from "./dim.ts";

/** Handle of a tensor in a graph. Functions of `layers/` take and return these; nothing is looked up by string. */
export interface Value {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: DimShape;
}

/** ONNX tells integers from floats by type, JavaScript does not: an attribute says which it is. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly text: string }
  | { readonly ints: readonly number[] }
  | { readonly floats: readonly number[] }
  | { readonly tensor: { readonly dtype: Dtype; readonly shape: readonly number[]; readonly bytes: Uint8Array } }
  /** Inside a function body: the value of the calling node's attribute of that name. */
  | { readonly ref: string; readonly type: "int" | "float" | "text" | "ints" | "floats" };

export type Attributes = Readonly<Record<string, Attribute>>;

export interface GraphNode {
  /** Scope path, e.g. `layers.0/attention/MatMul`. */
  readonly name: string;
  readonly op: string;
  /** "" is standard ONNX; "mmtrt" is a model-local function. */
  readonly domain: string;
  /** undefined is an optional input left out. */
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly Value[];
  readonly attributes: Attributes;
}

/** A tensor known before the run: bytes in the checkpoint's safetensors file, or a small constant kept in the graph. */
export interface Initializer {
  readonly value: Value;
  /** Little-endian bytes of a constant; undefined when the tensor of the same name is in the weights file. */
  readonly bytes: Uint8Array | undefined;
}

/** A model-local function: ONNX Runtime inlines the body, TensorRT looks at the name first (DESIGN §1). */
export interface GraphFunction {
  readonly domain: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly string[];
  readonly nodes: readonly FunctionNode[];
}

/** A node of a function body; values are plain names there, typed by each call. An empty input name is an input left out. */
export interface FunctionNode {
  readonly op: string;
  /** "" when absent. */
  readonly domain?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Attributes;
}

/** One model part, ready to be verified, printed, or written as ONNX. */
export interface Graph {
  readonly name: string;
  /** Version of the standard operator set the nodes are from. */
  readonly opset: number;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly nodes: readonly GraphNode[];
  readonly initializers: readonly Initializer[];
  readonly functions: readonly GraphFunction[];
  /** Inner values by a stable name (`layers.3`, `vision`) for `verify` and calibration, which turn them into outputs. */
  readonly taps: ReadonlyMap<string, Value>;
}
