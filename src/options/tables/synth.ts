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
    about: "Hugging Face class name of the model.",
  },
  preset: { type: "string", group: "Model", about: "Sizes of a known model; other size flags override single ones." },
  model_config: {
    type: "path",
    group: "Model",
    placeholder: "FILE",
    about: "A Hugging Face config.json with all sizes, instead of --architecture and --preset.",
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

  hidden_size: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 20,
    group: "Language model",
    about: "Width of the hidden states.",
  },
  num_hidden_layers: { type: "integer", minimum: 1, maximum: 4096, group: "Language model", about: "Decoder layers." },
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
