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

/** TensorRT-LLM reads `type`, since v0.12 also `rope_type`; linear keeps the older spelling alone, as the goldens do. */
export function rotaryScaling({ ropeScaling }: DecoderSpec): Readonly<Record<string, unknown>> | null {
  if (ropeScaling === undefined) return null;
  const { type, factor, parameters } = ropeScaling;
  return { factor, ...parameters, type, ...(type !== "linear" && { rope_type: type }) };
}
