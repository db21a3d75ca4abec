import { type CheckpointConfig, type CheckpointLayout, defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { classKeys, rotaryScaling, weightLayoutKey } from "./parts/checkpoint-config.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { readQwenWindows } from "./parts/qwen-windows.ts";
import type { DecoderSpec } from "./spec.ts";

/** Qwen3Config's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  head_dim: 128,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
};

export const QWEN3: LanguageFamily = {
  ...LLAMA,
  architecture: "Qwen3ForCausalLM",
  modelType: "qwen3",
  read: readQwen3Decoder,
  config: qwen3Config,
};

/** Everything mmtrt knows about Qwen3: LLaMA with norms of queries and keys, and heads that are no fraction of the width. */
export default defineArchitecture(textOnly(QWEN3));

function readQwen3Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const spec = readLlamaDecoder(c, nested, DEFAULTS);
  return { ...spec, ...readQwenWindows(c, spec.layers), architecture: "Qwen3ForCausalLM", qkNorm: true };
}

/** As TensorRT-LLM's QWenConfig dumps it since it knows Qwen3 (0.20); norms of q and k follow from qwen_type. */
function qwen3Config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    ...classKeys(spec, layout, ["lm_head"]),
    rotary_base: spec.ropeTheta,
    rotary_scaling: rotaryScaling(spec),
    qwen_type: "qwen3",
    attn_bias: spec.attentionBias,
    mlp_bias: spec.mlpBias,
    use_logn_attn: false,
    seq_length: 8192,
    tie_word_embeddings: spec.tiedEmbeddings,
    disable_weight_only_quant_plugin: layout.quantization?.floatWeights === true,
    ...weightLayoutKey(layout),
  };
}
