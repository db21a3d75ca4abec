import type { DecoderSpec, ModelSpec } from "../models/spec.ts";
import type { FloatDtype } from "../tensor/index.ts";
import type { Parallel } from "./shard.ts";

/** config.json of a TensorRT-LLM checkpoint, v0.10's keys. Values are element counts unless the name says otherwise. */
export interface TrtllmConfig {
  readonly architecture: string;
  readonly dtype: FloatDtype;
  readonly logits_dtype: "float32" | "float16";
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_size: number;
  readonly qk_layernorm: boolean;
  readonly hidden_act: string;
  readonly intermediate_size: number;
  readonly norm_epsilon: number;
  readonly position_embedding_type: string;
  readonly use_parallel_embedding: boolean;
  readonly embedding_sharding_dim: 0 | 1;
  readonly share_embedding_table: boolean;
  readonly mapping: {
    readonly world_size: number;
    readonly tp_size: number;
    readonly pp_size: number;
    readonly gpus_per_node: number;
  };
  readonly quantization: Readonly<Record<string, unknown>>;
  readonly kv_dtype: FloatDtype | "int8" | "fp8";
  readonly rotary_base: number;
  readonly rotary_scaling: Readonly<Record<string, unknown>> | null;
  readonly [key: string]: unknown;
}

const ACTIVATION_NAMES: Readonly<Record<DecoderSpec["activation"], string>> = {
  silu: "silu",
  gelu: "gelu",
  gelu_tanh: "gelu_pytorch_tanh",
  relu: "relu",
};

/**
 * The config that convert_checkpoint.py dumps for LLaMA. From Meta's files it takes another path through NVIDIA's code,
 * which leaves two keys out and has other values for keys that mean nothing here; kept, so that configs compare equal.
 */
export function trtllmConfig(spec: ModelSpec, parallel: Parallel, dtype: FloatDtype, fromMeta: boolean): TrtllmConfig {
  const { language } = spec;
  const { tpSize, ppSize } = parallel;
  return {
    architecture: language.architecture,
    dtype,
    logits_dtype: "float32",
    vocab_size: language.vocabSize,
    max_position_embeddings: language.maxPositions,
    hidden_size: language.hiddenSize,
    num_hidden_layers: language.layers,
    num_attention_heads: language.heads,
    num_key_value_heads: language.kvHeads,
    head_size: language.headDim,
    qk_layernorm: false,
    hidden_act: ACTIVATION_NAMES[language.activation],
    intermediate_size: language.intermediateSize,
    norm_epsilon: language.normEps,
    position_embedding_type: "rope_gpt_neox",
    use_parallel_embedding: parallel.parallelEmbedding,
    embedding_sharding_dim: parallel.embeddingShardingDim,
    share_embedding_table: parallel.shareEmbedding,
    mapping: { world_size: tpSize * ppSize, tp_size: tpSize, pp_size: ppSize, gpus_per_node: 8 },
    quantization: {
      quant_algo: null,
      kv_cache_quant_algo: null,
      group_size: 128,
      smoothquant_val: null,
      has_zero_point: false,
      pre_quant_scale: false,
      exclude_modules: fromMeta ? null : ["lm_head"],
    },
    kv_dtype: dtype,
    rotary_base: language.ropeTheta,
    rotary_scaling: rotaryScaling(language),
    ...(fromMeta ? {} : { residual_mlp: false, disable_weight_only_quant_plugin: false }),
    moe_normalization_mode: fromMeta ? 1 : null,
    moe_num_experts: 0,
    moe_top_k: 0,
    moe_tp_mode: 2,
    attn_bias: language.attentionBias,
    mlp_bias: language.mlpBias,
  };
}

/** TensorRT-LLM reads `type`, since v0.12 also `rope_type`; linear keeps the older spelling alone, as the goldens do. */
function rotaryScaling({ ropeScaling }: DecoderSpec): TrtllmConfig["rotary_scaling"] {
  if (ropeScaling === undefined) return null;
  const { type, factor, parameters } = ropeScaling;
  return { factor, ...parameters, type, ...(type !== "linear" && { rope_type: type }) };
}
