import qwen2 from "../../src/models/qwen2.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors } from "./names.ts";

const biases = Object.fromEntries(
  [0, 1].flatMap(l =>
    [24, 12, 12].map((size, i) => [`model.layers.${l}.self_attn.${["q_proj", "k_proj", "v_proj"][i]}.bias`, [size]]),
  ),
);

describeArchitecture(qwen2, {
  config: {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
  },
  spec: { modelType: "qwen2", language: { attentionBias: true, outputBias: false, ropeTheta: 1_000_000 } },
  tensors: { ...llamaTensors({ hidden: 24, q: 24, kv: 12, intermediate: 44, vocab: 19, layers: 2 }), ...biases },
});
