import opt from "../../src/models/opt.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { optTensors } from "./decoder-names.ts";

describeArchitecture(opt, {
  config: {
    architectures: ["OPTForCausalLM"],
    model_type: "opt",
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    ffn_dim: 28,
    vocab_size: 19,
    max_position_embeddings: 9,
    tie_word_embeddings: false,
  },
  spec: { modelType: "opt", language: { positions: "learned", maxPositions: 9, tiedEmbeddings: false } },
  tensors: optTensors({ hidden: 24, intermediate: 28, vocab: 19, positions: 9, layers: 2 }),
  layouts: [name => name.replace(/^model\.decoder\./, "decoder.")],
});
