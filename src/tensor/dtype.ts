/** Element types by the name TensorRT-LLM and our options use; the short safetensors spelling and the ONNX code hang off it. */
export type Dtype =
  | "float32"
  | "float16"
  | "bfloat16"
  | "float64"
  | "float8_e4m3fn"
  | "float8_e5m2"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint8"
  | "int4"
  | "bool";

export interface DtypeInfo {
  /** Bits an element takes in a file; int4 packs two to a byte. */
  readonly bits: number;
  /** The spelling in a safetensors header; int4 has none (it travels as int8 bytes). */
  readonly safetensors: string | undefined;
  /** TensorProto.DataType of onnx.proto. */
  readonly onnx: number;
}

export const DTYPES: Readonly<Record<Dtype, DtypeInfo>> = {
  float32: { bits: 32, safetensors: "F32", onnx: 1 },
  float16: { bits: 16, safetensors: "F16", onnx: 10 },
  bfloat16: { bits: 16, safetensors: "BF16", onnx: 16 },
  float64: { bits: 64, safetensors: "F64", onnx: 11 },
  float8_e4m3fn: { bits: 8, safetensors: "F8_E4M3", onnx: 17 },
  float8_e5m2: { bits: 8, safetensors: "F8_E5M2", onnx: 19 },
  int64: { bits: 64, safetensors: "I64", onnx: 7 },
  int32: { bits: 32, safetensors: "I32", onnx: 6 },
  int16: { bits: 16, safetensors: "I16", onnx: 5 },
  int8: { bits: 8, safetensors: "I8", onnx: 3 },
  uint8: { bits: 8, safetensors: "U8", onnx: 2 },
  int4: { bits: 4, safetensors: undefined, onnx: 22 },
  bool: { bits: 8, safetensors: "BOOL", onnx: 9 },
};

/** The dtypes weights may be stored in after `convert`. */
export type FloatDtype = "float32" | "float16" | "bfloat16";
const FLOAT_DTYPES: readonly FloatDtype[] = ["float32", "float16", "bfloat16"];

export function dtypeOfSafetensors(name: string): Dtype | undefined {
  return (Object.keys(DTYPES) as Dtype[]).find(dtype => DTYPES[dtype].safetensors === name);
}

export function isFloatDtype(dtype: Dtype): dtype is FloatDtype {
  return (FLOAT_DTYPES as readonly Dtype[]).includes(dtype);
}
