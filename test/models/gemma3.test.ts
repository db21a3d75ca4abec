import gemma3 from "../../src/models/gemma3.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors, perLayer } from "./names.ts";

// Untied, for a tied table is in as many copies as ranks and stages make.
const tensors = llamaTensors({
  hidden: 24,
  q: 40,
  kv: 20,
  intermediate: 44,
  vocab: 19,
  layers: 2,
});

describeArchitecture(gemma3, {
  config: {
    architectures: ["Gemma3ForCausalLM"],
    model_type: "gemma3_text",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-6,
    head_dim: 10,
    tie_word_embeddings: false,
    sliding_window: 3,
    layer_types: ["sliding_attention", "full_attention"],
  },
  spec: {
    modelType: "gemma3_text",
    language: { outputNorms: true, qkNorm: true, layerKinds: [{ rope: "local", window: 3 }, { rope: "global" }] },
  },
  tensors: {
    ...tensors,
    ...perLayer(2, {
      "pre_feedforward_layernorm.weight": [24],
      "post_feedforward_layernorm.weight": [24],
      "self_attn.q_norm.weight": [10],
      "self_attn.k_norm.weight": [10],
    }),
  },
});
