import { type CheckpointConfig, type CheckpointLayout, defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { handWrittenKeys, weightLayoutKey } from "./parts/checkpoint-config.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { readQwenWindows } from "./parts/qwen-windows.ts";
import type { DecoderSpec } from "./spec.ts";

/** Qwen2Config's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
};

export const QWEN2: LanguageFamily = {
  ...LLAMA,
  architecture: "Qwen2ForCausalLM",
  modelType: "qwen2",
  read: readQwen2Decoder,
  config: qwenConfig,
};

/** Everything mmtrt knows about Qwen2 and Qwen2.5: LLaMA with biases on q, k and v. */
export default defineArchitecture(textOnly(QWEN2));

function readQwen2Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  c.only("use_mrope", [false], "positions would be three numbers each (Qwen2-VL)");
  const spec = readLlamaDecoder(c, nested, DEFAULTS);
  return {
    ...spec,
    ...readQwenWindows(c, spec.layers),
    architecture: "Qwen2ForCausalLM",
    attentionBias: true,
    outputBias: false,
  };
}

/** As NVIDIA's converter for Qwen writes it: its own class for all generations, told apart by qwen_type. */
function qwenConfig(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    ...handWrittenKeys(spec, layout),
    architecture: "QWenForCausalLM",
    qwen_type: "qwen2",
    disable_weight_only_quant_plugin: layout.quantization?.floatWeights === true,
    ...weightLayoutKey(layout),
  };
}
