import mistral from "../../src/models/mistral.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors } from "./names.ts";

describeArchitecture(mistral, {
  config: {
    architectures: ["MistralForCausalLM"],
    model_type: "mistral",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 10,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-5,
    sliding_window: null,
  },
  spec: { modelType: "mistral", language: { architecture: "MistralForCausalLM", headDim: 10 } },
  tensors: llamaTensors({ hidden: 24, q: 40, kv: 20, intermediate: 44, vocab: 19, layers: 2 }),
});
