import gpt2 from "../../src/models/gpt2.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { gpt2Tensors } from "./decoder-names.ts";

describeArchitecture(gpt2, {
  config: {
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    n_embd: 24,
    n_layer: 2,
    n_head: 4,
    n_inner: 36,
    n_positions: 9,
    vocab_size: 19,
    tie_word_embeddings: false,
  },
  spec: { modelType: "gpt2", language: { architecture: "GPT2LMHeadModel", intermediateSize: 36 } },
  tensors: gpt2Tensors({ hidden: 24, intermediate: 36, vocab: 19, positions: 9, layers: 2 }),
  layouts: [name => name.replace(/^transformer\./, "")],
});
