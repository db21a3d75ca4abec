import gemma from "../../src/models/gemma.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors } from "./names.ts";

// Untied, for a tied table is in as many copies as ranks and stages make.
const tensors = llamaTensors({
  hidden: 24,
  q: 40,
  kv: 20,
  intermediate: 44,
  vocab: 19,
  layers: 2,
});

describeArchitecture(gemma, {
  config: {
    architectures: ["GemmaForCausalLM"],
    model_type: "gemma",
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
  spec: { modelType: "gemma", language: { normsStoredLessOne: true, tiedEmbeddings: false, activation: "gelu_tanh" } },
  tensors,
});
