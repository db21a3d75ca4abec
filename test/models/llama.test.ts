import llama from "../../src/models/llama.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors } from "./names.ts";

describeArchitecture(llama, {
  config: {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: 36,
    num_hidden_layers: 2,
    num_attention_heads: 12,
    num_key_value_heads: 2,
    head_dim: 6,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-6,
  },
  spec: { modelType: "llama", language: { headDim: 6, kvHeads: 2, layers: 2 } },
  tensors: llamaTensors({ hidden: 36, q: 72, kv: 12, intermediate: 44, vocab: 19, layers: 2 }),
  layouts: [name => name.replace(/^model\./, "")],
});
