import { describe, expect, it } from "vitest";
import { readModel } from "../../../src/models/registry.ts";

type Config = Readonly<Record<string, unknown>>;

/**
 * config.json as publishers wrote them, each by the transformers of its day: keys that came later are missing, keys that
 * are long gone are there. What is missing has the value that transformers 5 gives it.
 */
const T5: Config = {
  architectures: ["T5WithLMHeadModel"],
  model_type: "t5",
  d_ff: 2048,
  d_kv: 64,
  d_model: 512,
  decoder_start_token_id: 0,
  dropout_rate: 0.1,
  eos_token_id: 1,
  initializer_factor: 1.0,
  is_encoder_decoder: true,
  layer_norm_epsilon: 1e-6,
  n_positions: 512,
  num_heads: 8,
  num_layers: 6,
  output_past: true,
  pad_token_id: 0,
  relative_attention_num_buckets: 32,
  task_specific_params: { summarization: { num_beams: 4, prefix: "summarize: " } },
  vocab_size: 32_128,
};
const BYT5: Config = {
  ...{ architectures: ["T5ForConditionalGeneration"], model_type: "t5", d_ff: 3840, d_kv: 64, d_model: 1536 },
  ...{ num_layers: 36, num_decoder_layers: 12, num_heads: 16, vocab_size: 384, relative_attention_num_buckets: 32 },
  ...{ feed_forward_proj: "gated-gelu", gradient_checkpointing: false, tie_word_embeddings: false },
  ...{ decoder_start_token_id: 0, eos_token_id: 1, pad_token_id: 0, layer_norm_epsilon: 1e-6, dropout_rate: 0.1 },
  ...{ initializer_factor: 1.0, is_encoder_decoder: true, output_past: true, tokenizer_class: "ByT5Tokenizer" },
};
const BLIP2_T5: Config = {
  architectures: ["Blip2ForConditionalGeneration"],
  model_type: "blip-2",
  image_text_hidden_size: 256,
  image_token_index: 32_100,
  initializer_factor: 1.0,
  initializer_range: 0.02,
  num_query_tokens: 32,
  qformer_config: { classifier_dropout: null, model_type: "blip_2_qformer" },
  text_config: {
    ...{ ...T5, architectures: ["T5ForConditionalGeneration"], d_ff: 5120, d_model: 2048, num_heads: 32 },
    ...{ num_layers: 24, num_decoder_layers: 24, bos_token_id: 1, classifier_dropout: 0.0, is_gated_act: true },
    ...{ dense_act_fn: "gelu", feed_forward_proj: "gated-gelu", tie_word_embeddings: false, torch_dtype: "float32" },
  },
  torch_dtype: "float32",
  use_decoder_only_language_model: false,
  vision_config: {
    ...{
      dropout: 0.0,
      initializer_factor: 1.0,
      model_type: "blip_2_vision_model",
      num_channels: 3,
      projection_dim: 512,
    },
  },
};
const BLIP2_OPT: Config = {
  ...{ ...BLIP2_T5, image_token_index: 50_265, use_decoder_only_language_model: true, tie_word_embeddings: false },
  text_config: {
    ...{
      _name_or_path: "facebook/opt-2.7b",
      activation_dropout: 0.0,
      architectures: ["OPTForCausalLM"],
      eos_token_id: 50_118,
    },
    ...{ ffn_dim: 10_240, hidden_size: 2560, model_type: "opt", num_attention_heads: 32, num_hidden_layers: 32 },
    ...{ prefix: "</s>", torch_dtype: "float16", word_embed_proj_dim: 2560 },
  },
};
const GPT2_MEDIUM: Config = {
  ...{ activation_function: "gelu_new", architectures: ["GPT2LMHeadModel"], attn_pdrop: 0.1, bos_token_id: 50_256 },
  ...{ embd_pdrop: 0.1, eos_token_id: 50_256, initializer_range: 0.02, layer_norm_epsilon: 1e-5, model_type: "gpt2" },
  ...{ n_ctx: 1024, n_embd: 1024, n_head: 16, n_layer: 24, n_positions: 1024, n_special: 0 },
  ...{ output_past: true, predict_special_tokens: true, resid_pdrop: 0.1, summary_activation: null },
  ...{ summary_first_dropout: 0.1, summary_proj_to_labels: true, summary_type: "cls_index", summary_use_proj: true },
  ...{ task_specific_params: { "text-generation": { do_sample: true, max_length: 50 } }, vocab_size: 50_257 },
};
const OPT_350M: Config = {
  ...{
    activation_dropout: 0.0,
    activation_function: "relu",
    architectures: ["OPTForCausalLM"],
    attention_dropout: 0.0,
  },
  ...{ bos_token_id: 2, do_layer_norm_before: false, dropout: 0.1, eos_token_id: 2, ffn_dim: 4096, hidden_size: 1024 },
  ...{ init_std: 0.02, layerdrop: 0.0, max_position_embeddings: 2048, model_type: "opt", num_attention_heads: 16 },
  ...{ num_hidden_layers: 24, pad_token_id: 1, prefix: "</s>", torch_dtype: "float16", use_cache: true },
  ...{ vocab_size: 50_272, word_embed_proj_dim: 512 },
};
const BART: Config = {
  ...{ _num_labels: 3, activation_dropout: 0.0, activation_function: "gelu", add_bias_logits: false },
  ...{ add_final_layer_norm: false, architectures: ["BartForConditionalGeneration"], attention_dropout: 0.0 },
  ...{ bos_token_id: 0, classif_dropout: 0.0, d_model: 1024, decoder_attention_heads: 16, decoder_ffn_dim: 4096 },
  ...{ decoder_layerdrop: 0.0, decoder_layers: 6, decoder_start_token_id: 2, dropout: 0.1, early_stopping: true },
  ...{ encoder_attention_heads: 16, encoder_ffn_dim: 4096, encoder_layerdrop: 0.0, encoder_layers: 12 },
  ...{ eos_token_id: 2, extra_pos_embeddings: 2, force_bos_token_to_be_generated: true, init_std: 0.02 },
  ...{ is_encoder_decoder: true, length_penalty: 2.0, max_length: 142, max_position_embeddings: 1024, min_length: 56 },
  ...{ model_type: "bart", no_repeat_ngram_size: 3, normalize_before: false, normalize_embedding: true, num_beams: 4 },
  ...{ num_hidden_layers: 12, output_past: true, pad_token_id: 1, prefix: " ", replacing_rate: 0 },
  ...{
    scale_embedding: false,
    static_position_embeddings: false,
    student_decoder_layers: 6,
    student_encoder_layers: 12,
  },
  ...{ save_step: 18, vocab_size: 50_264 },
};
const MBART: Config = {
  ...{ _num_labels: 3, activation_dropout: 0.0, activation_function: "gelu", add_bias_logits: false },
  ...{ add_final_layer_norm: true, architectures: ["MBartForConditionalGeneration"], attention_dropout: 0.0 },
  ...{ bos_token_id: 0, d_model: 1024, decoder_attention_heads: 16, decoder_ffn_dim: 4096, decoder_layers: 12 },
  ...{ encoder_attention_heads: 16, encoder_ffn_dim: 4096, encoder_layers: 12, eos_token_id: 2, init_std: 0.02 },
  ...{ is_encoder_decoder: true, max_length: 1024, max_position_embeddings: 1024, model_type: "mbart" },
  ...{ normalize_before: true, normalize_embedding: true, num_beams: 5, num_hidden_layers: 12, output_past: true },
  ...{ pad_token_id: 1, scale_embedding: true, static_position_embeddings: false, vocab_size: 250_027 },
  task_specific_params: { translation_en_to_ro: { decoder_start_token_id: 250_020 } },
};
const NOUGAT: Config = {
  architectures: ["VisionEncoderDecoderModel"],
  model_type: "vision-encoder-decoder",
  is_encoder_decoder: true,
  tie_word_embeddings: false,
  decoder: {
    ...{ activation_function: "gelu", add_cross_attention: true, add_final_layer_norm: true, d_model: 1024 },
    ...{ decoder_layers: 10, is_decoder: true, is_encoder_decoder: false, max_position_embeddings: 4096 },
    ...{ model_type: "mbart", scale_embedding: true, vocab_size: 50_000 },
  },
  encoder: {
    ...{ depths: [2, 2, 14, 2], embed_dim: 128, hidden_size: 1024, image_size: [896, 672], model_type: "donut-swin" },
    ...{ num_heads: [4, 8, 16, 32], num_layers: 4, path_norm: true, use_2d_embeddings: false, window_size: 7 },
  },
};
const QWEN25: Config = {
  ...{ architectures: ["Qwen2ForCausalLM"], attention_dropout: 0.0, bos_token_id: 151_643, eos_token_id: 151_643 },
  ...{ hidden_act: "silu", hidden_size: 896, initializer_range: 0.02, intermediate_size: 4864 },
  ...{ max_position_embeddings: 32_768, max_window_layers: 24, model_type: "qwen2", num_attention_heads: 14 },
  ...{ num_hidden_layers: 24, num_key_value_heads: 2, rms_norm_eps: 1e-6, rope_theta: 1e6, sliding_window: 32_768 },
  ...{ tie_word_embeddings: true, use_cache: true, use_mrope: false, use_sliding_window: false, vocab_size: 151_936 },
};

const VILA: Config = {
  ...{ architectures: ["LlavaLlamaModel"], drop_path_rate: 0.0, hidden_size: 2560, image_aspect_ratio: "resize" },
  ...{ interpolate_mode: "linear", mm_hidden_size: 1152, mm_projector_lr: null, mm_use_im_patch_token: false },
  ...{ mm_use_im_start_end: false, mm_vision_select_feature: "cls_patch", mm_vision_select_layer: -2 },
  ...{ model_dtype: "torch.bfloat16", model_type: "llava_llama", num_video_frames: 8, resume_path: "./vlm", s2: false },
  ...{ s2_max_split_size: 336, s2_scales: "336,672,1008", tune_language_model: true, tune_mm_projector: true },
  ...{ tune_vision_tower: true, vision_resolution: -1 },
  llm_cfg: {
    ...{ architectures: ["LlamaForCausalLM"], attention_bias: false, hidden_act: "silu", hidden_size: 2560 },
    ...{ intermediate_size: 6912, max_position_embeddings: 4096, model_max_length: 4096, model_type: "llama" },
    ...{ num_attention_heads: 20, num_hidden_layers: 32, num_key_value_heads: 20, pretraining_tp: 1 },
    ...{ rms_norm_eps: 1e-5, rope_scaling: null, rope_theta: 10_000.0, tokenizer_model_max_length: 4096 },
    ...{ tokenizer_padding_side: "right", torch_dtype: "bfloat16", vocab_size: 32_000 },
  },
  mm_projector_cfg: { mm_projector_type: "mlp_downsample", model_type: "v2l_projector", tie_word_embeddings: true },
  vision_tower_cfg: {
    ...{ architectures: ["SiglipVisionModel"], hidden_size: 1152, image_size: 384, intermediate_size: 4304 },
    ...{ model_type: "siglip_vision_model", num_attention_heads: 16, num_hidden_layers: 27, patch_size: 14 },
  },
};

describe("a published config.json", () => {
  it("of T5 v1.0 and ByT5, older than relative_attention_max_distance, has transformers' 128", () => {
    const small = readModel(T5).spec;
    expect(small.encoderDecoder?.relative).toEqual({ buckets: 32, maxDistance: 128 });
    expect(small.encoderDecoder).toMatchObject({ scaledLogits: true, decoderStartTokenId: 0 });
    expect(small.language).toMatchObject({ layers: 6, activation: "relu", mlp: "plain", tiedEmbeddings: true });
    const byt5 = readModel(BYT5).spec;
    expect(byt5.encoderDecoder?.relative).toEqual({ buckets: 32, maxDistance: 128 });
    expect(byt5.encoderDecoder).toMatchObject({ encoder: { layers: 36 }, scaledLogits: false });
    expect(byt5.language).toMatchObject({ layers: 12, activation: "gelu_tanh", mlp: "gated", tiedEmbeddings: false });
  });

  it("of BLIP-2's FLAN-T5 has the exact gelu where FLAN-T5 alone has the tanh form", () => {
    const { language, vision, qformer } = readModel(BLIP2_T5).spec;
    expect(language).toMatchObject({ activation: "gelu", mlp: "gated", tiedEmbeddings: false });
    expect([vision?.layers, vision?.hiddenSize, vision?.imageSize]).toEqual([39, 1408, 224]);
    expect(qformer).toMatchObject({ queries: 32, hiddenSize: 768, layers: 12, crossAttentionFrequency: 2 });
  });

  it("of BLIP-2's OPT has OPT's vocabulary and positions, and its end of line as the end", () => {
    const { language, eosTokenIds, bosTokenId } = readModel(BLIP2_OPT).spec;
    expect(language).toMatchObject({ vocabSize: 50_272, maxPositions: 2048, hiddenSize: 2560, heads: 32 });
    expect([eosTokenIds, bosTokenId]).toEqual([[50_118], 2]);
  });

  it("of GPT-2 medium, OPT-350m and Qwen2.5 says nothing by keys that no version reads", () => {
    expect(readModel(GPT2_MEDIUM).spec.language).toMatchObject({ layers: 24, intermediateSize: 4096 });
    expect(readModel(OPT_350M).spec.language).toMatchObject({ embeddingSize: 512, postNorm: true });
    expect(readModel(QWEN25).spec.language).toMatchObject({ kvHeads: 2, tiedEmbeddings: true, ropeTheta: 1e6 });
  });

  it("of BART and mBART, older than forced_eos_token_id, ends answers by transformers' default; null forces nothing", () => {
    const forced = (config: Config) => readModel(config).spec.encoderDecoder?.forcedEosTokenId;
    expect([forced(BART), forced(MBART)]).toEqual([2, 2]);
    expect(forced({ ...BART, forced_eos_token_id: null })).toBeUndefined();
    expect(forced({ ...BART, forced_eos_token_id: 7 })).toBe(7);
    expect(readModel(BART).spec.encoderDecoder).toMatchObject({ decoderStartTokenId: 2, forcedBosTokenId: 0 });
    expect(readModel(MBART).spec.encoderDecoder?.decoderStartTokenId).toBeUndefined();
  });

  it("of VILA-1.5 has 196 features, and says nothing by what training wrote into its parts", () => {
    const { vision, language, projector } = readModel(VILA).spec;
    expect([vision?.numVisualFeatures, vision?.hiddenSize, projector?.kind]).toEqual([196, 1152, "mlp_downsample"]);
    expect(language).toMatchObject({ hiddenSize: 2560, maxPositions: 4096 });
    const llm = VILA.llm_cfg as Config;
    const longer = { ...VILA, llm_cfg: { ...llm, model_max_length: 8192 } };
    expect(() => readModel(longer)).toThrow(/SPC004.*model_max_length is 8192.*"factor": 2\.0/s);
    const scaled = { ...longer.llm_cfg, rope_scaling: { type: "linear", factor: 2.0 } };
    expect(readModel({ ...VILA, llm_cfg: scaled }).spec.language.ropeScaling).toMatchObject({
      type: "linear",
      factor: 2,
    });
  });

  it("of Nougat has 588 features of the last of four stages", () => {
    const { swin, language, encoderDecoder } = readModel(NOUGAT).spec;
    expect([swin?.numVisualFeatures, swin?.hiddenSize]).toEqual([588, 1024]);
    expect(language).toMatchObject({ layers: 10, maxPositions: 4096, vocabSize: 50_000 });
    expect(encoderDecoder).toMatchObject({ embeddingScale: true, finalNorm: true, encoderSize: 1024 });
  });

  it.each([
    ["use_mrope true", { ...QWEN25, use_mrope: true }, /SPC004.*use_mrope/s],
    ["two-dimensional embeddings", withEncoder({ use_2d_embeddings: true }), /SPC004.*encoder\.use_2d_embeddings/s],
    ["another dense_act_fn", { ...BYT5, dense_act_fn: "relu" }, /SPC005.*dense_act_fn/s],
    ["no d_model", { ...T5, d_model: undefined }, /SPC001.*d_model/s],
    ["a distance of zero", { ...T5, relative_attention_max_distance: 0 }, /SPC002.*relative_attention_max_distance/s],
  ])("with %s is refused", (_, config, message) => {
    expect(() => readModel(config)).toThrow(message);
  });
});

function withEncoder(changes: Config): Config {
  return { ...NOUGAT, encoder: { ...(NOUGAT.encoder as Config), ...changes } };
}
