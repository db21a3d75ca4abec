import smollm3 from "../../src/models/smollm3.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors } from "./names.ts";

describeArchitecture(smollm3, {
  config: {
    architectures: ["SmolLM3ForCausalLM"],
    model_type: "smollm3",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-6,
    no_rope_layers: [1, 0],
    tie_word_embeddings: false,
  },
  spec: { modelType: "smollm3", language: { layerKinds: [{ rope: "global" }, { rope: "none" }] } },
  tensors: llamaTensors({ hidden: 24, q: 24, kv: 12, intermediate: 44, vocab: 19, layers: 2 }),
});
