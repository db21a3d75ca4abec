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

export const quantizedCacheIsBuilt: Rule = context => {
  const { kvCacheQuantAlgo } = context.checkpoint;
  if (kvCacheQuantAlgo === null) return undefined;
  return {
    code: "BLD040",
    what: `kv_cache_quant_algo ${kvCacheQuantAlgo} cannot be built by this version`,
    at: inCheckpoint(context, "quantization.kv_cache_quant_algo"),
    why: "no graph reads and writes such a cache yet",
    fix: "convert the model without a quantized KV cache",
  };
};
