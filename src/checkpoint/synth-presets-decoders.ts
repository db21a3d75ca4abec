type Config = Readonly<Record<string, unknown>>;

const opt = (
  hidden_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
  more: Config = {},
): Config => ({
  architectures: ["OPTForCausalLM"],
  model_type: "opt",
  hidden_size,
  num_hidden_layers,
  num_attention_heads,
  ffn_dim: 4 * hidden_size,
  word_embed_proj_dim: hidden_size,
  vocab_size: 50_272,
  max_position_embeddings: 2048,
  do_layer_norm_before: true,
  bos_token_id: 2,
  eos_token_id: 2,
  pad_token_id: 1,
  ...more,
});

const blip2 = (text: Config): Config => ({
  architectures: ["Blip2ForConditionalGeneration"],
  model_type: "blip-2",
  text_config: { ...text, architectures: undefined, vocab_size: 50_304, eos_token_id: 50_118 },
  vision_config: {
    model_type: "blip_2_vision_model",
    hidden_size: 1408,
    num_hidden_layers: 39,
    num_attention_heads: 16,
    intermediate_size: 6144,
    image_size: 224,
    patch_size: 14,
  },
  qformer_config: {
    model_type: "blip_2_qformer",
    hidden_size: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    intermediate_size: 3072,
  },
  num_query_tokens: 32,
  image_token_index: 50_265,
});

const OPT_2_7B = opt(2560, 32, 32);
const OPT_6_7B = opt(4096, 32, 32);

/** Shapes of published OPT, GPT-2, Qwen2, Mistral and BLIP-2 models. The first of an architecture is its default. */
export const DECODER_PRESETS: Readonly<Record<string, Config>> = {
  "opt-125m": opt(768, 12, 12),
  "opt-350m": opt(1024, 24, 16, { word_embed_proj_dim: 512, do_layer_norm_before: false }),
  "opt-2.7b": OPT_2_7B,
  "opt-6.7b": OPT_6_7B,
  "blip2-opt-2.7b": blip2(OPT_2_7B),
  "blip2-opt-6.7b": blip2(OPT_6_7B),
  gpt2: {
    architectures: ["GPT2LMHeadModel"],
    model_type: "gpt2",
    n_embd: 768,
    n_layer: 12,
    n_head: 12,
    n_positions: 1024,
    vocab_size: 50_257,
    bos_token_id: 50_256,
    eos_token_id: 50_256,
  },
  "qwen2-7b": {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    hidden_size: 3584,
    num_hidden_layers: 28,
    num_attention_heads: 28,
    num_key_value_heads: 4,
    intermediate_size: 18_944,
    vocab_size: 152_064,
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-6,
    rope_theta: 1_000_000,
    bos_token_id: 151_643,
    eos_token_id: 151_645,
  },
  "mistral-7b-v0.3": {
    architectures: ["MistralForCausalLM"],
    model_type: "mistral",
    hidden_size: 4096,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    intermediate_size: 14_336,
    vocab_size: 32_768,
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-5,
    rope_theta: 1_000_000,
    sliding_window: null,
    bos_token_id: 1,
    eos_token_id: 2,
  },
};
