import type { CheckpointConfig, CheckpointLayout, DealLimits } from "../architecture.ts";
import type { DecoderSpec, EncoderDecoderSpec, ModelSpec } from "../spec.ts";
import { embeddingKeys, plainMapping } from "./checkpoint-config.ts";

/** The two halves, under TensorRT-LLM's names for their directories and tensors. */
export type Stack = "encoder" | "decoder";

export function encoderDecoderLimits(): DealLimits {
  return {
    plainEmbedding: "TensorRT-LLM's encoder-decoder converter writes the tables whole, whatever these options say",
    unpaddedVocabulary: "lm_head is split by rows without padding, so every rank needs the same number of them",
  };
}

const HIDDEN_ACT: Readonly<Record<DecoderSpec["activation"], string>> = {
  relu: "relu",
  gelu: "gelu",
  gelu_tanh: "gelu_new",
  silu: "silu",
};

/** `encoder/config.json` or `decoder/config.json`, key by key as TensorRT-LLM v0.11's converter writes it; it calls BLIP-2's T5 blip2. */
export function stackConfig(
  { language, encoderDecoder }: ModelSpec,
  layout: CheckpointLayout,
  stack: Stack,
  family: "t5" | "bart",
  modelType: string = family,
): CheckpointConfig {
  const sizes = stack === "encoder" ? (encoderDecoder?.encoder ?? language) : language;
  const isT5 = family === "t5";
  const gated = language.mlp === "gated";
  return {
    architecture: stack === "encoder" ? "EncoderModel" : "DecoderModel",
    dtype: layout.dtype,
    logits_dtype: "float32",
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    hidden_size: language.hiddenSize,
    // BART's config has no epsilon, and the converter's fallback is what Python's json makes of False.
    norm_epsilon: isT5 ? language.normEps : false,
    vocab_size: language.vocabSize,
    position_embedding_type: isT5 ? "relative" : "learned_absolute",
    hidden_act: HIDDEN_ACT[language.activation],
    quantization: { quant_algo: null, kv_cache_quant_algo: null },
    mapping: plainMapping(layout),
    ...embeddingKeys(layout),
    max_position_embeddings: language.maxPositions,
    ...(stack === "encoder" && { num_key_value_heads: sizes.heads }),
    head_size: sizes.headDim,
    has_position_embedding: !isT5,
    layernorm_type: isT5 ? 1 : 0,
    has_attention_qkvo_bias: language.attentionBias,
    has_mlp_bias: language.mlpBias,
    has_model_final_layernorm: encoderDecoder?.finalNorm ?? false,
    has_embedding_layernorm: encoderDecoder?.embeddingNorm ?? false,
    has_embedding_scale: encoderDecoder?.embeddingScale ?? false,
    intermediate_size: sizes.intermediateSize,
    q_scaling: encoderDecoder?.scaledAttention ? 1 : sizes.headDim ** -0.5,
    layernorm_position: language.postNorm ? 1 : 0,
    mlp_type: gated ? 1 : 0,
    relative_attention: isT5,
    max_distance: encoderDecoder?.relative?.maxDistance ?? 0,
    num_buckets: encoderDecoder?.relative?.buckets ?? 0,
    model_type: modelType,
    ...(stack === "decoder" && decoderKeys(language, encoderDecoder)),
    gated_act: gated,
  };
}

function decoderKeys(language: DecoderSpec, encoderDecoder: EncoderDecoderSpec | undefined): Record<string, unknown> {
  const heads = encoderDecoder?.encoderHeads ?? language.heads;
  return {
    rescale_before_lm_head: encoderDecoder?.scaledLogits ?? false,
    encoder_hidden_size: language.hiddenSize,
    encoder_num_heads: heads,
    encoder_head_size: encoderDecoder?.encoder?.headDim ?? language.hiddenSize / heads,
    skip_cross_qkv: false,
    use_implicit_relative_attention: false,
    decoder_start_token_id: encoderDecoder?.decoderStartTokenId ?? null,
  };
}
