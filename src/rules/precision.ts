import type { Problem } from "../diagnostics/index.ts";
import type { Rule } from "./rule.ts";
import { inCheckpoint } from "./rule.ts";

/** Advice. */
export const logitsKeepBits: Rule = ({ build: { logits_dtype }, target, origin }) =>
  logits_dtype === "float32" || target.computeDtype === "float16"
    ? undefined
    : {
        code: "BLD041",
        what: `logits_dtype ${logits_dtype} rounds logits that are computed in ${target.computeDtype}`,
        at: origin("logits_dtype"),
        why: "float16 ends at 65504 and has 11 bits, so words of nearly equal likelihood may tie",
        fix: "--logits_dtype float32",
      };

/** A cast while the engine is built must do what convert --dtype does, or be left to it. */
export const computeDtypeCasts: Rule = ({ build, checkpoint, origin }): Problem | undefined => {
  const { compute_dtype: asked, backend } = build;
  if (asked === "auto" || asked === checkpoint.dtype) return undefined;
  const problem = (why: string): Problem => ({
    code: "BLD070",
    what: `compute_dtype ${asked} cannot be made of the checkpoint's ${checkpoint.quantAlgo ?? checkpoint.dtype} by this build`,
    at: origin("compute_dtype"),
    why,
    fix: `leave it out and convert with --dtype ${asked}`,
  });
  if (checkpoint.quantAlgo !== null)
    return problem("scales of quantized weights belong to the dtype they were made for");
  if (asked === "float16")
    return problem("float16 ends at 65504, and convert is what looks at every weight for values beyond it");
  if (asked === "bfloat16" && backend === "onnxruntime")
    return problem("ONNX Runtime has no bfloat16 kernels: weights that are not rounded would stay as they are");
  return undefined;
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
