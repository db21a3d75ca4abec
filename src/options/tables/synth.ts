import { defineOptions, type Values } from "../define.ts";

/** Sizes left out are the preset's. */
export const synthOptions = defineOptions({
  output_dir: {
    type: "path",
    required: true,
    positional: true,
    group: "Model",
    placeholder: "DIR",
    about: "Where the model directory goes. Must be new or empty.",
  },
  architecture: {
    type: "string",
    default: "LlamaForCausalLM",
    group: "Model",
    about: "Without --preset: the sizes of the smallest published model of this Hugging Face class.",
  },
  preset: {
    type: "string",
    group: "Model",
    placeholder: "NAME",
    about:
      "Sizes and directories of a published model, as mmtrt plan --list names them; other flags change single sizes.",
  },
  model_config: {
    type: "path",
    group: "Model",
    placeholder: "FILE",
    hub: true,
    about:
      "A Hugging Face config.json with all sizes, or org/name on the Hub that has one, instead of --architecture and --preset.",
  },
  dtype: {
    type: "string",
    enum: ["float16", "bfloat16", "float32"],
    synonyms: { fp16: "float16", bf16: "bfloat16", fp32: "float32" },
    default: "float16",
    group: "Model",
    about: "Element type of the weights.",
  },
  seed: {
    type: "integer",
    minimum: 0,
    default: 0,
    group: "Model",
    about: "The same seed and sizes give the same bytes.",
  },
  max_shard_size: {
    type: "integer",
    minimum: 1,
    default: 5_000_000_000,
    group: "Model",
    placeholder: "BYTES",
    about: "Most bytes in one .safetensors file.",
  },

  layers: {
    type: "integer",
    minimum: 1,
    maximum: 4096,
    group: "Smaller",
    about:
      "Most layers of every part: language model, Q-Former, and at least 2 of a vision tower or each stage of a Swin.",
  },
  shrink: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 16,
    default: 1,
    group: "Smaller",
    placeholder: "N",
    about:
      "Divide the heads of every part by N and its widths with them; at least one head is left, and the vocabulary stays.",
  },

  hidden_size: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 20,
    group: "Language model",
    about: "Width of the hidden states.",
  },
  num_hidden_layers: {
    type: "integer",
    minimum: 1,
    maximum: 4096,
    group: "Language model",
    about: "Layers of the language model.",
  },
  num_attention_heads: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 16,
    group: "Language model",
    about: "Query heads.",
  },
  num_key_value_heads: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 16,
    group: "Language model",
    about: "Key and value heads.",
  },
  intermediate_size: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 22,
    group: "Language model",
    about: "Width inside the MLP.",
  },
  vocab_size: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Language model",
    about: "Rows of the embedding table.",
  },
  tie_word_embeddings: { type: "boolean", group: "Language model", about: "Use the embedding table as lm_head." },
});

export type SynthOptions = Values<typeof synthOptions>;
