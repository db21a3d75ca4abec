import internlm2 from "../../src/models/internlm2.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { perLayer } from "./names.ts";

describeArchitecture(internlm2, {
  config: {
    architectures: ["InternLM2ForCausalLM"],
    model_type: "internlm2",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-6,
    bias: true,
    tie_word_embeddings: false,
  },
  spec: { modelType: "internlm2", language: { attentionBias: true, outputBias: true, mlpBias: false } },
  // The bare model, saved alone, has no prefix.
  layouts: [name => name.replace(/^model\./, "")],
  tensors: {
    "model.tok_embeddings.weight": [19, 24],
    "output.weight": [19, 24],
    "model.norm.weight": [24],
    ...perLayer(2, {
      "attention.wqkv.weight": [48, 24],
      "attention.wqkv.bias": [48],
      "attention.wo.weight": [24, 24],
      "attention.wo.bias": [24],
      "attention_norm.weight": [24],
      "ffn_norm.weight": [24],
      "feed_forward.w1.weight": [44, 24],
      "feed_forward.w2.weight": [24, 44],
      "feed_forward.w3.weight": [44, 24],
    }),
  },
});
