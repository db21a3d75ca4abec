import type { Rule } from "./rule.ts";
import { inCheckpoint } from "./rule.ts";

export const logitsAreFloat32: Rule = ({ build: { logits_dtype }, origin }) =>
  logits_dtype === "float32"
    ? undefined
    : {
        code: "BLD041",
        what: `logits_dtype ${logits_dtype} is asked for and the graph gives float32`,
        at: origin("logits_dtype"),
        why: "sampling over a large vocabulary needs more than float16's 11 bits, so the last node widens the logits",
        fix: "--logits_dtype float32",
      };

/** Advice. */
export const t5HasRange: Rule = context => {
  const { spec, target } = context;
  if (spec.encoderDecoder?.relative === undefined || target.computeDtype !== "float16") return undefined;
  return {
    code: "BLD053",
    what: "T5 is built in float16",
    at: inCheckpoint(context, "dtype"),
    why: "it was trained in bfloat16, and activations of the larger models are beyond float16's 65504",
    fix: "convert with --dtype bfloat16 or float32",
  };
};

/** Advice. */
export const bfloat16IsWidened: Rule = context =>
  context.build.backend !== "onnxruntime" || context.checkpoint.dtype !== "bfloat16"
    ? undefined
    : {
        code: "BLD043",
        what: "bfloat16 weights are computed as float32 by the onnxruntime backend",
        at: inCheckpoint(context, "dtype"),
        why: "ONNX Runtime's CPU kernels lack bfloat16; values stay the same and take twice the memory when loaded",
        fix: "convert with --dtype float16 for half the memory, or build with --backend tensorrt",
      };
