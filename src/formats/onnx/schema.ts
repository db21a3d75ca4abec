import protobuf from "protobufjs/light.js";

/**
 * The messages of onnx.proto that a model file uses, as a protobufjs descriptor: field numbers are the format, the rest
 * of the schema (training, sparse tensors, …) is left out. Source: ONNX IR specification, version 10.
 * protobufjs is used instead of the onnx-proto package because that stops at IR 8 and weighs 15 MB (docs/decisions/0002).
 */
const field = (id: number, type: string): protobuf.IField => ({ id, type });
const repeated = (id: number, type: string): protobuf.IField => ({
  id,
  type,
  rule: "repeated",
  options: { packed: false },
});

const root = protobuf.Root.fromJSON({
  nested: {
    ModelProto: {
      fields: {
        irVersion: field(1, "int64"),
        producerName: field(2, "string"),
        producerVersion: field(3, "string"),
        graph: field(7, "GraphProto"),
        opsetImport: repeated(8, "OperatorSetIdProto"),
        metadataProps: repeated(14, "StringStringEntryProto"),
        functions: repeated(25, "FunctionProto"),
      },
    },
    GraphProto: {
      fields: {
        node: repeated(1, "NodeProto"),
        name: field(2, "string"),
        initializer: repeated(5, "TensorProto"),
        input: repeated(11, "ValueInfoProto"),
        output: repeated(12, "ValueInfoProto"),
        valueInfo: repeated(13, "ValueInfoProto"),
      },
    },
    NodeProto: {
      fields: {
        input: repeated(1, "string"),
        output: repeated(2, "string"),
        name: field(3, "string"),
        opType: field(4, "string"),
        attribute: repeated(5, "AttributeProto"),
        domain: field(7, "string"),
      },
    },
    AttributeProto: {
      fields: {
        name: field(1, "string"),
        f: field(2, "float"),
        i: field(3, "int64"),
        s: field(4, "bytes"),
        t: field(5, "TensorProto"),
        g: field(6, "GraphProto"),
        floats: repeated(7, "float"),
        ints: repeated(8, "int64"),
        strings: repeated(9, "bytes"),
        type: field(20, "int32"),
        refAttrName: field(21, "string"),
      },
    },
    TensorProto: {
      fields: {
        dims: repeated(1, "int64"),
        dataType: field(2, "int32"),
        name: field(8, "string"),
        rawData: field(9, "bytes"),
        externalData: repeated(13, "StringStringEntryProto"),
        dataLocation: field(14, "int32"),
      },
    },
    FunctionProto: {
      fields: {
        name: field(1, "string"),
        input: repeated(4, "string"),
        output: repeated(5, "string"),
        attribute: repeated(6, "string"),
        node: repeated(7, "NodeProto"),
        opsetImport: repeated(9, "OperatorSetIdProto"),
        domain: field(10, "string"),
      },
    },
    ValueInfoProto: { fields: { name: field(1, "string"), type: field(2, "TypeProto") } },
    TypeProto: { fields: { tensorType: field(1, "TensorTypeProto") } },
    TensorTypeProto: { fields: { elemType: field(1, "int32"), shape: field(2, "TensorShapeProto") } },
    TensorShapeProto: { fields: { dim: repeated(1, "DimensionProto") } },
    DimensionProto: { fields: { dimValue: field(1, "int64"), dimParam: field(2, "string") } },
    OperatorSetIdProto: { fields: { domain: field(1, "string"), version: field(2, "int64") } },
    StringStringEntryProto: { fields: { key: field(1, "string"), value: field(2, "string") } },
  },
});

export interface OnnxEntry {
  key: string;
  value: string;
}
export interface OnnxTensor {
  dims: number[];
  dataType: number;
  name: string;
  rawData?: Uint8Array;
  externalData?: OnnxEntry[];
  /** 0 in this file, 1 external. */
  dataLocation?: number;
}
export interface OnnxAttribute {
  name: string;
  /** AttributeType: 1 float, 2 int, 3 string, 4 tensor, 6 floats, 7 ints. */
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  t?: OnnxTensor;
  floats?: number[];
  ints?: number[];
  refAttrName?: string;
}
export interface OnnxNode {
  input: string[];
  output: string[];
  name?: string;
  opType: string;
  domain?: string;
  attribute: OnnxAttribute[];
}
export interface OnnxValueInfo {
  name: string;
  /** Null in each place where a file of somebody else's says nothing. */
  type: { tensorType: { elemType: number; shape: { dim: OnnxDim[] } | null } | null } | null;
}
export interface OnnxDim {
  dimValue?: number;
  dimParam?: string;
}
export interface OnnxOpset {
  domain: string;
  version: number;
}
export interface OnnxFunction {
  name: string;
  domain: string;
  input: string[];
  output: string[];
  attribute: string[];
  node: OnnxNode[];
  opsetImport: OnnxOpset[];
}
export interface OnnxModel {
  irVersion: number;
  producerName: string;
  producerVersion: string;
  opsetImport: OnnxOpset[];
  functions: OnnxFunction[];
  metadataProps: OnnxEntry[];
  graph: { name: string; node: OnnxNode[]; initializer: OnnxTensor[]; input: OnnxValueInfo[]; output: OnnxValueInfo[] };
}

/** The type of an input or output; element type 0, undefined in ONNX, where the file does not say. */
export function tensorTypeOf({ type }: OnnxValueInfo): {
  readonly elemType: number;
  readonly dims: readonly OnnxDim[];
} {
  return { elemType: type?.tensorType?.elemType ?? 0, dims: type?.tensorType?.shape?.dim ?? [] };
}

/** Key of a metadata entry that names an inner value: `mmtrt.tap/layers.3` → the value's name in this file. */
export const TAP_PREFIX = "mmtrt.tap/";

export const modelType = root.lookupType("ModelProto");

export function encodeModel(model: OnnxModel): Uint8Array {
  return modelType.encode(model as unknown as Record<string, unknown>).finish();
}

/**
 * What makes inner values outputs when it is appended to a model's bytes: protobuf merges a message that comes in pieces.
 * Their types are left for the reader to infer.
 */
export function encodeExtraOutputs(values: readonly string[]): Uint8Array {
  return modelType.encode({ graph: { output: values.map(name => ({ name })) } } as Record<string, unknown>).finish();
}

/** Throws protobufjs's own error on bytes that are no such message; callers turn it into a Problem with the file's name. */
export function decodeModel(bytes: Uint8Array): OnnxModel {
  return modelType.toObject(modelType.decode(bytes), {
    longs: Number,
    defaults: true,
    arrays: true,
    objects: true,
    bytes: Uint8Array,
  }) as unknown as OnnxModel;
}
