import { type QuantSpec, UNQUANTIZED } from "../../tensor/index.ts";
import type { CheckpointConfig, CheckpointLayout } from "../architecture.ts";
import type { DecoderSpec } from "../spec.ts";

/** TensorRT-LLM's words for activations; the converters copy Hugging Face's, which may be other spellings of the same. */
const ACTIVATION_NAMES: Readonly<Record<DecoderSpec["activation"], string>> = {
  silu: "silu",
  gelu: "gelu",
  gelu_tanh: "gelu_pytorch_tanh",
  relu: "relu",
};

export function activationName(activation: DecoderSpec["activation"]): string {
  return ACTIVATION_NAMES[activation];
}

/** `mapping` as the converters write it by hand: without gpus_per_node. */
export function plainMapping({ tpSize, ppSize }: CheckpointLayout): CheckpointConfig["mapping"] {
  return { world_size: tpSize * ppSize, tp_size: tpSize, pp_size: ppSize };
}

/** The three options of the embedding table under their own names. */
export function embeddingKeys(layout: CheckpointLayout): Record<string, unknown> {
  return {
    use_parallel_embedding: layout.parallelEmbedding,
    embedding_sharding_dim: layout.embeddingShardingDim,
    share_embedding_table: layout.shareEmbedding,
  };
}

/** `quantization` as classes dump it: every key. `exclude` is what the converter leaves plain, as it writes it. */
export function fullQuantization(layout: CheckpointLayout, exclude: readonly string[] | null): Record<string, unknown> {
  const quant = layout.quantization ?? UNQUANTIZED;
  return {
    ...briefQuantization(layout),
    group_size: quant.groupSize,
    smoothquant_val: quant.smoothquantVal,
    has_zero_point: quant.hasZeroPoint,
    pre_quant_scale: quant.preQuantScale,
    exclude_modules: keepsOthers(quant) ? quant.excludeModules : exclude,
  };
}

/** `quantization` as converters write it by hand; the group-wise algorithms need more than the two names. */
export function briefQuantization({ quantization }: CheckpointLayout): Record<string, unknown> {
  const quant = quantization ?? UNQUANTIZED;
  const grouped = quant.quantAlgo === "W4A16_AWQ" || quant.quantAlgo === "W4A16_GPTQ";
  return {
    quant_algo: quant.quantAlgo,
    kv_cache_quant_algo: quant.kvCacheQuantAlgo,
    ...(grouped && {
      group_size: quant.groupSize,
      has_zero_point: quant.hasZeroPoint,
      pre_quant_scale: quant.preQuantScale,
    }),
    ...(quant.smoothquantVal !== null && { smoothquant_val: quant.smoothquantVal }),
    ...(keepsOthers(quant) && { exclude_modules: quant.excludeModules }),
  };
}

/** Other modules than lm_head alone are plain: layers that the source was quantized without, or none at all. */
function keepsOthers({ excludeModules }: QuantSpec): boolean {
  return excludeModules.length !== 1 || excludeModules[0] !== "lm_head";
}

/** `kv_dtype`: element type of cached keys and values. */
export function cacheDtype({ quantization, dtype }: CheckpointLayout): string {
  const algo = quantization?.kvCacheQuantAlgo;
  return algo == null ? dtype : algo.toLowerCase();
}

/** The keys of a decoder with rotary embedding that NVIDIA's converters write by hand, without those that follow from them. */
export function handWrittenKeys(language: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    architecture: language.architecture,
    dtype: layout.dtype,
    logits_dtype: "float32",
    num_hidden_layers: language.layers,
    num_attention_heads: language.heads,
    num_key_value_heads: language.kvHeads,
    hidden_size: language.hiddenSize,
    intermediate_size: language.intermediateSize,
    norm_epsilon: language.normEps,
    vocab_size: language.vocabSize,
    position_embedding_type: "rope_gpt_neox",
    rotary_base: language.ropeTheta,
    rotary_scaling: rotaryScaling(language),
    max_position_embeddings: language.maxPositions,
    hidden_act: activationName(language.activation),
    ...embeddingKeys(layout),
    quantization: briefQuantization(layout),
    mapping: plainMapping(layout),
  };
}

/** The keys that every config class of TensorRT-LLM dumps; `exclude` as in `fullQuantization`. */
export function classKeys(
  language: DecoderSpec,
  layout: CheckpointLayout,
  exclude: readonly string[] | null,
): CheckpointConfig {
  return {
    architecture: language.architecture,
    dtype: layout.dtype,
    logits_dtype: "float32",
    vocab_size: language.vocabSize,
    max_position_embeddings: language.maxPositions,
    hidden_size: language.hiddenSize,
    num_hidden_layers: language.layers,
    num_attention_heads: language.heads,
    num_key_value_heads: language.kvHeads,
    head_size: language.headDim,
    qk_layernorm: false,
    hidden_act: activationName(language.activation),
    intermediate_size: language.intermediateSize,
    norm_epsilon: language.normEps,
    position_embedding_type: "rope_gpt_neox",
    ...embeddingKeys(layout),
    mapping: { ...plainMapping(layout), gpus_per_node: 8 },
    quantization: fullQuantization(layout, exclude),
    kv_dtype: cacheDtype(layout),
  };
}

/**
 * What TensorRT-LLM's kernels must not take for their own: weight-only codes in our plain order. It ignores the key.
 * SmoothQuant's and FP8's weights are plain in its own checkpoints.
 */
export function weightLayoutKey({ quantization }: CheckpointLayout): Record<string, unknown> {
  const algo = quantization?.quantAlgo;
  if (algo == null || quantization?.weightLayout !== "plain" || algo === "FP8" || algo.startsWith("W8A8")) return {};
  return { mmtrt: { weight_layout: "plain" } };
}

/** TensorRT-LLM reads `type`, since v0.12 also `rope_type`; linear keeps the older spelling alone, as the goldens do. */
export function rotaryScaling({ ropeScaling }: DecoderSpec): Readonly<Record<string, unknown>> | null {
  if (ropeScaling === undefined) return null;
  const { type, factor, parameters } = ropeScaling;
  return { factor, ...parameters, type, ...(type !== "linear" && { rope_type: type }) };
}
