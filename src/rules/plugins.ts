import type { Problem } from "../diagnostics/index.ts";
import type { BuildSettings, CheckpointFacts, PluginChoice, Rule } from "./rule.ts";

/** Options whose value is auto, disable or a dtype, which is the model's. */
type PluginKey = {
  [K in keyof BuildSettings]: BuildSettings[K] extends PluginChoice | "fp8" ? K : never;
}[keyof BuildSettings] &
  `${string}_plugin`;

const BLOCK_SIZES: readonly number[] = [8, 16, 32, 64, 128];

function pluginDtype(key: PluginKey): Rule {
  return ({ build, checkpoint, origin }): Problem | undefined => {
    const choice = build[key];
    const dtype = build.compute_dtype === "auto" ? checkpoint.dtype : build.compute_dtype;
    if (choice === "auto" || choice === "disable" || choice === dtype) return undefined;
    if (choice === "fp8") return checkpoint.quantAlgo?.startsWith("FP8") ? undefined : notFp8(checkpoint, origin(key));
    return {
      code: "BLD030",
      what: `${key} ${choice} is not the model's dtype ${dtype}`,
      at: origin(key),
      why: "the plugin reads the model's own weights and activations, which are in the checkpoint's dtype or compute_dtype",
      fix: `--${key} auto (or ${dtype})`,
    };
  };
}

function notFp8({ quantAlgo }: CheckpointFacts, at: string): Problem {
  return {
    code: "BLD030",
    what: `gemm_plugin fp8 with ${quantAlgo === null ? "plain weights" : `quant_algo ${quantAlgo}`}`,
    at,
    why: "fp8 is for products whose weights and inputs are FP8 codes, which the checkpoint says",
    fix: "--gemm_plugin auto, or mmtrt quantize --qformat fp8",
  };
}

export const attentionPluginHasModelDtype: Rule = pluginDtype("gpt_attention_plugin");
export const encoderPluginHasModelDtype: Rule = pluginDtype("bert_attention_plugin");
export const gemmPluginHasModelDtype: Rule = pluginDtype("gemm_plugin");
export const weightOnlyPluginHasModelDtype: Rule = pluginDtype("weight_only_quant_matmul_plugin");
export const smoothQuantPluginHasModelDtype: Rule = pluginDtype("smooth_quant_gemm_plugin");
export const normPluginHasModelDtype: Rule = pluginDtype("rmsnorm_plugin");
export const layerNormPluginHasModelDtype: Rule = pluginDtype("layernorm_plugin");
export const lookupPluginHasModelDtype: Rule = pluginDtype("lookup_plugin");

export const pagedCacheHasPlugin: Rule = ({ build: { kv_cache_type, gpt_attention_plugin }, origin }) =>
  kv_cache_type !== "paged" || gpt_attention_plugin !== "disable"
    ? undefined
    : {
        code: "BLD031",
        what: "kv_cache_type paged with gpt_attention_plugin disable",
        at: origin("kv_cache_type"),
        why: "blocks are updated in place by the attention plugin; standard operators copy the whole pool at every step",
        fix: "--gpt_attention_plugin auto, or --kv_cache_type continuous",
      };

export const cacheTypeIsBuilt: Rule = ({ build: { kv_cache_type }, spec, origin }) =>
  kv_cache_type !== "paged" || spec.encoderDecoder === undefined
    ? undefined
    : {
        code: "BLD032",
        what: "kv_cache_type paged for an encoder-decoder; continuous and static can be built",
        at: origin("kv_cache_type"),
        why: "a decoder of a pair answers with few tokens, and its attention to the encoder has no blocks",
        fix: "--kv_cache_type continuous, or static",
      };

export const blockSizeIsPowerOfTwo: Rule = ({ build: { tokens_per_block }, origin }) => {
  if (BLOCK_SIZES.includes(tokens_per_block)) return undefined;
  const nearest = BLOCK_SIZES.reduce((a, b) =>
    Math.abs(b - tokens_per_block) < Math.abs(a - tokens_per_block) ? b : a,
  );
  return {
    code: "BLD033",
    what: `tokens_per_block ${tokens_per_block} is not one of ${BLOCK_SIZES.join(", ")}`,
    at: origin("tokens_per_block"),
    why: "the kernels find a token's block by shifting its position, and are compiled for these sizes",
    fix: `--tokens_per_block ${nearest}`,
  };
};

export const pagedContextReadsCache: Rule = context => {
  const { build, checkpoint, origin } = context;
  if (!build.use_paged_context_fmha) return undefined;
  const cache = checkpoint.kvCacheQuantAlgo;
  const fp8Weights = checkpoint.quantAlgo?.startsWith("FP8") === true;
  if (cache !== "INT8" && (cache !== "FP8" || fp8Weights)) return undefined;
  return {
    code: "BLD034",
    what: `use_paged_context_fmha with a ${cache} KV cache${cache === "FP8" ? " and weights that are not FP8" : ""}`,
    at: origin("use_paged_context_fmha"),
    why:
      cache === "INT8"
        ? "the fused context attention has no kernel that reads INT8 keys and values"
        : "the fused context attention reads an FP8 cache only in an FP8 model",
    fix: "--use_paged_context_fmha disable, or convert without a quantized KV cache",
  };
};

export const fusedMlpIsPlain: Rule = context => {
  const { quantAlgo } = context.checkpoint;
  if (!context.build.use_fused_mlp || quantAlgo === null || quantAlgo.startsWith("FP8")) return undefined;
  return {
    code: "BLD035",
    what: `use_fused_mlp with quant_algo ${quantAlgo}`,
    at: context.origin("use_fused_mlp"),
    why: "gate and up weights carry scales of their own and cannot become one matrix without changing numbers",
    fix: "--use_fused_mlp disable",
  };
};
