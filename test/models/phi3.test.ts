import phi3 from "../../src/models/phi3.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors, perLayer } from "./names.ts";

const apart = /(?:[qkv]_proj|gate_proj|up_proj)\.weight$/;
const plain = Object.entries(llamaTensors({ hidden: 24, q: 24, kv: 12, intermediate: 44, vocab: 19, layers: 2 }));

describeArchitecture(phi3, {
  config: {
    architectures: ["Phi3ForCausalLM"],
    model_type: "phi3",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 44,
    vocab_size: 19,
    max_position_embeddings: 99,
    rms_norm_eps: 1e-6,
    partial_rotary_factor: 0.75,
    tie_word_embeddings: false,
  },
  spec: { modelType: "phi3", language: { mlp: "fused", rotaryDim: 4 } },
  tensors: {
    ...Object.fromEntries(plain.filter(([name]) => !apart.test(name))),
    ...perLayer(2, { "self_attn.qkv_proj.weight": [48, 24], "mlp.gate_up_proj.weight": [88, 24] }),
  },
});
