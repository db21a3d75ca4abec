import type { TensorRTBackend } from "./request.ts";

/** major, minor, patch; missing parts are 0. */
export type Version = readonly [number, number, number];

/** ONNX operators and abilities whose support depends on the builder's version. */
export type Feature =
  | "Attention"
  | "RotaryEmbedding"
  | "RMSNormalization"
  | "TensorScatter"
  | "DistCollective"
  | "Swish"
  | "TRT_Attention"
  | "TRT_MoE"
  | "TRT_KVCacheUpdate"
  | "MXFP8"
  | "plugins_before_functions"
  | "opset_23";

/** First enterprise release whose ONNX parser takes the operator. */
export const MINIMUM_VERSION: Readonly<Record<Feature, Version>> = {
  Attention: [10, 14, 0],
  RotaryEmbedding: [10, 15, 0],
  RMSNormalization: [10, 15, 0],
  TensorScatter: [10, 15, 0],
  DistCollective: [10, 16, 0],
  Swish: [11, 0, 0],
  TRT_Attention: [11, 0, 0],
  TRT_MoE: [11, 0, 0],
  TRT_KVCacheUpdate: [11, 0, 0],
  MXFP8: [10, 12, 0],
  plugins_before_functions: [10, 7, 0],
  opset_23: [10, 14, 0],
};

/** Parsed by TensorRT-RTX 1.7, and still not to be used: each fails to build there. */
const RTX_LACKS: readonly Feature[] = ["TRT_MoE"];

/** Element types that exist in hardware only from some SM on. */
const FIRST_SM: Readonly<Record<string, number>> = {
  bfloat16: 80,
  float8_e4m3fn: 89,
  float8_e8m0fnu: 89,
  float4_e2m1fn: 120,
};

/** TensorRT-RTX 1.7's targets; 90 and 100, the data-centre GPUs, are not among them. */
export const RTX_SMS: readonly number[] = [75, 80, 86, 89, 120, 121];

export interface Target {
  readonly backend: TensorRTBackend;
  /** Of the library that builds; undefined when it is not known yet. */
  readonly version?: string | undefined;
  readonly sms?: readonly number[];
}

export function parseVersion(text: string): Version {
  const [major = 0, minor = 0, patch = 0] = text.split(".").map(part => Number.parseInt(part, 10) || 0);
  return [major, minor, patch];
}

export function compareVersions(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

/** Undefined version: assumed to be new enough, as the newest release is what an installation without a pin gets. */
export function supports(target: Target, feature: Feature): boolean {
  if (target.backend === "tensorrt_rtx") return !RTX_LACKS.includes(feature);
  return target.version === undefined || compareVersions(parseVersion(target.version), MINIMUM_VERSION[feature]) >= 0;
}

/** SMs of the target that lack the element type; empty when all have it or none is named. */
export function smsWithout(target: Target, dtype: string): readonly number[] {
  const first = FIRST_SM[dtype];
  return first === undefined ? [] : (target.sms ?? []).filter(sm => sm < first);
}
