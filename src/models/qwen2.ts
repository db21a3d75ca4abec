import { type CheckpointConfig, type CheckpointLayout, defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { activationName, embeddingKeys, plainMapping, rotaryScaling } from "./parts/checkpoint-config.ts";
import { onlyFullAttention, readTextIdentity } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { LLAMA_IGNORED, LLAMA_NAMES, llamaWeights } from "./parts/llama-weights.ts";
import type { DecoderSpec, ModelSpec } from "./spec.ts";

/** Everything mmtrt knows about Qwen2 and Qwen2.5: LLaMA with biases on q, k and v. */
export default defineArchitecture({
  hf: ["Qwen2ForCausalLM"],
  readSpec,
  weights: ({ language }) => ({
    names: LLAMA_NAMES,
    language: llamaWeights(language),
    visual: [],
    ignore: LLAMA_IGNORED,
    ...(language.tiedEmbeddings && { copies: [{ name: "lm_head.weight", of: "model.embed_tokens.weight" }] }),
  }),
  checkpointConfig: ({ language }, layout) => qwenConfig(language, layout),
  languageGraph: decoderGraph,
});

function readSpec(c: ConfigReader): ModelSpec {
  // Without use_sliding_window the other two say nothing; transformers writes them all the same.
  c.only("use_sliding_window", [false], "layers from max_window_layers on would see only the last tokens");
  c.ignore("sliding_window", "max_window_layers");
  onlyFullAttention(c);
  const language: DecoderSpec = {
    ...readLlamaDecoder(c, false),
    architecture: "Qwen2ForCausalLM",
    attentionBias: true,
    outputBias: false,
  };
  return c.finish({ ...readTextIdentity(c, "Qwen2ForCausalLM", "qwen2"), language });
}

/** As NVIDIA's converter for Qwen writes it: its own class for all generations, told apart by qwen_type. */
function qwenConfig(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    architecture: "QWenForCausalLM",
    dtype: layout.dtype,
    logits_dtype: "float32",
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    hidden_size: spec.hiddenSize,
    intermediate_size: spec.intermediateSize,
    num_key_value_heads: spec.kvHeads,
    vocab_size: spec.vocabSize,
    position_embedding_type: "rope_gpt_neox",
    max_position_embeddings: spec.maxPositions,
    hidden_act: activationName(spec.activation),
    rotary_base: spec.ropeTheta,
    rotary_scaling: rotaryScaling(spec),
    norm_epsilon: spec.normEps,
    quantization: { quant_algo: null, kv_cache_quant_algo: null },
    mapping: plainMapping(layout),
    ...embeddingKeys(layout),
    qwen_type: "qwen2",
    disable_weight_only_quant_plugin: false,
  };
}
