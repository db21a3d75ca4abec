import type { Rule } from "./rule.ts";
import { inCheckpoint } from "./rule.ts";

const PERMUTED =
  "the codes are in the order that TensorRT-LLM's own kernels read; a graph that points at them would compute garbage";

export const layoutIsPlain: Rule = context => {
  const { quantAlgo, weightLayout } = context.checkpoint;
  if (quantAlgo === null || weightLayout === "plain") return undefined;
  return {
    code: "BLD060",
    what: `the checkpoint's weight_layout is ${weightLayout}; engines are built from plain ones`,
    at: `${context.checkpoint.dir}/mmtrt.json: options.weight_layout`,
    why: PERMUTED,
    fix: "convert again without --weight_layout",
  };
};

/** First SM whose TensorRT-RTX engines take codes of that kind: 7.5 has neither INT8 nor INT4 weight-only kernels. */
export const targetsHaveCodes: Rule = context => {
  const { quantAlgo, kvCacheQuantAlgo } = context.checkpoint;
  const { backend, sms } = context.target;
  const fp8 = quantAlgo === "FP8" || kvCacheQuantAlgo === "FP8";
  const first = fp8 ? 89 : quantAlgo !== null && backend === "tensorrt_rtx" ? 80 : 0;
  const lacking = backend === "onnxruntime" ? [] : sms.filter(sm => sm < first);
  if (lacking.length === 0) return undefined;
  const rest = sms.filter(sm => sm >= first);
  const name = fp8 ? "FP8" : (quantAlgo ?? "");
  return {
    code: "BLD061",
    what: `SM ${lacking.join(", ")} has no kernels for ${name}; the first that has is ${first}`,
    at: context.origin("compute_capabilities"),
    why: fp8 ? "FP8 arithmetic exists from SM 89 on" : "TensorRT-RTX multiplies by INT8 and INT4 weights from SM 80 on",
    fix: rest.length > 0 ? `--compute_capabilities ${rest.join(" ")}` : "convert without quantization for that GPU",
  };
};

/** ONNX Runtime has kernels that quantize to FP8 and none that multiply, join or update it. */
export const runtimeHasFp8: Rule = context => {
  const { kvCacheQuantAlgo } = context.checkpoint;
  if (context.target.backend !== "onnxruntime" || kvCacheQuantAlgo !== "FP8") return undefined;
  return {
    code: "BLD040",
    what: "the checkpoint has an FP8 KV cache, which ONNX Runtime cannot keep",
    at: inCheckpoint(context, "quantization.kv_cache_quant_algo"),
    why: "its CPU kernels cannot join FP8 tensors, so a cache cannot grow",
    fix: "--backend tensorrt_rtx --compute_capabilities 8.9 12.0, or convert with --int8_kv_cache",
  };
};

/** TensorRT updates a static cache in place by a layer of its own, which takes floats alone (TensorRT-RTX 1.7). */
export const staticCacheIsFloat: Rule = context => {
  const { kvCacheQuantAlgo } = context.checkpoint;
  const { build, target } = context;
  if (target.backend === "onnxruntime" || kvCacheQuantAlgo === null || build.kv_cache_type !== "static")
    return undefined;
  return {
    code: "BLD062",
    what: `kv_cache_type static with kv_cache_quant_algo ${kvCacheQuantAlgo}`,
    at: context.origin("kv_cache_type"),
    why: "TensorRT's in-place update of a static cache takes float32, float16 and bfloat16 only",
    fix: "--kv_cache_type continuous, or convert without a quantized KV cache",
  };
};
