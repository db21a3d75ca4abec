import qwen3 from "../../src/models/qwen3.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors, perLayer } from "./names.ts";

describeArchitecture(qwen3, {
  config: {
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
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
  },
  spec: { modelType: "qwen3", language: { headDim: 10, qkNorm: true, attentionBias: false } },
  tensors: {
    ...llamaTensors({ hidden: 24, q: 40, kv: 20, intermediate: 44, vocab: 19, layers: 2 }),
    ...perLayer(2, { "self_attn.q_norm.weight": [10], "self_attn.k_norm.weight": [10] }),
  },
});
