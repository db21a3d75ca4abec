import { defineOptions, type Values } from "../define.ts";
import { loraOptions } from "./build-lora.ts";
import { oldBuildOptions } from "./build-old.ts";
import { tensorrtOptions } from "./build-tensorrt.ts";

const PLUGIN_WORDS = ["auto", "float16", "bfloat16", "float32", "disable"] as const;

/** Flag names are trtllm-build's; the checkpoint decides tp_size and pp_size. */
export const buildOptions = defineOptions({
  checkpoint_dir: {
    type: "path",
    required: true,
    group: "Files",
    placeholder: "DIR",
    aliases: [{ name: "i" }, { name: "weight_dir" }],
    about: "What mmtrt convert wrote.",
  },
  output_dir: {
    type: "path",
    required: true,
    group: "Files",
    placeholder: "DIR",
    aliases: [{ name: "o" }, { name: "engine_dir" }],
    about: "Where the engines go. Must be new or empty.",
  },
  copy_weights: {
    type: "boolean",
    default: false,
    group: "Files",
    about: "Write the weights again beside the graphs, for tools that cannot follow a hard link into the checkpoint.",
  },
  plan: {
    type: "boolean",
    default: false,
    aliases: [{ name: "dry_run" }],
    group: "Files",
    about: "Show engines, profiles and the memory account, and write nothing.",
  },
  report: {
    type: "path",
    group: "Files",
    placeholder: "FILE.html",
    about:
      "Write a page for the browser: memory account, profiles drawn as ranges, what graphs and weights consist of, build times. With --plan too.",
  },
  strict_profiles: {
    type: "boolean",
    default: false,
    group: "Files",
    about:
      "Add to the plan the ranges that TensorRT-LLM v0.11 would give the inputs of its own network for these limits.",
  },
  force: {
    type: "boolean",
    default: false,
    group: "Files",
    about: "Build again what the cache says is up to date, and replace an engine directory that mmtrt wrote.",
  },
  only: {
    type: "string",
    enum: ["all", "llm", "visual"],
    default: "all",
    group: "Files",
    about: "Build one part of a multimodal model alone.",
  },

  backend: {
    type: "string",
    enum: ["onnxruntime", "tensorrt", "tensorrt_rtx"],
    default: "onnxruntime",
    group: "Engine",
    about: "What runs the graphs: the embedded ONNX Runtime, TensorRT, or TensorRT for RTX.",
  },
  compute_dtype: {
    type: "string",
    enum: ["auto", "float16", "bfloat16", "float32"],
    default: "auto",
    group: "Engine",
    aliases: [{ name: "dtype" }],
    about:
      "Element type the engine computes in. auto is the checkpoint's; bfloat16 and float32 cast its weights when the engine is built, float16 is for convert, which looks for values beyond its range.",
  },
  logits_dtype: {
    type: "string",
    enum: ["float32", "float16"],
    default: "float32",
    group: "Engine",
    about: "Element type of the logits output.",
  },
  kv_cache_type: {
    type: "string",
    enum: ["continuous", "static", "paged"],
    default: "continuous",
    group: "Engine",
    aliases: [{ name: "paged_kv_cache", values: { enable: "paged", disable: "continuous" }, bare: "enable" }],
    about:
      "How keys and values are kept: grown by concatenation, written in place, or in blocks, which the attention plugin updates in place.",
  },
  gpt_attention_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    aliases: [{ name: "use_gpt_attention_plugin", bare: "auto" }],
    about:
      "mmtrt's attention plugin and its element type. auto: where a library of --plugins has it, in the model's dtype; disable: standard operators; a dtype: a node that runs as standard operators where no library has it.",
  },
  bert_attention_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "disable",
    group: "Engine",
    aliases: [{ name: "use_bert_attention_plugin", bare: "auto" }],
    about: "mmtrt's attention of image and text encoders as a plugin, and its element type; words as above.",
  },
  gemm_plugin: {
    type: "string",
    enum: [...PLUGIN_WORDS, "fp8"],
    default: "disable",
    group: "Engine",
    aliases: [{ name: "use_gemm_plugin", bare: "auto" }],
    about:
      "mmtrt's product with plain 16-bit weights as a plugin, and its element type; words as above. fp8: the product with FP8 weights; auto has both. TensorRT's own kernels do without.",
  },
  weight_only_quant_matmul_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    aliases: [{ name: "weight_only_groupwise_quant_matmul_plugin" }],
    about: "mmtrt's product with INT8 and INT4 weights as a plugin, and its element type; words as above.",
  },
  smooth_quant_gemm_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    about:
      "mmtrt's product of SmoothQuant's INT8 inputs and weights as a plugin, and its element type; words as above.",
  },
  rmsnorm_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    aliases: [{ name: "use_rmsnorm_plugin", bare: "auto" }],
    about: "mmtrt's RMS norm with residual as a plugin, and its element type; words as above.",
  },
  layernorm_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    aliases: [{ name: "use_layernorm_plugin", bare: "auto" }],
    about: "mmtrt's layer norm with residual as a plugin in decoders, and its element type; words as above.",
  },
  lookup_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    aliases: [{ name: "use_lookup_plugin", bare: "auto" }],
    about: "mmtrt's look-up of words and visual features as a plugin, and its element type; words as above.",
  },
  nccl_plugin: {
    type: "string",
    enum: PLUGIN_WORDS,
    default: "auto",
    group: "Engine",
    about:
      "mmtrt's sum over tensor-parallel ranks as a plugin, in the model's dtype whatever the word: what lets ranks be built with TensorRT before 10.16. auto or a dtype: where a library of --plugins has it; disable: the operator DistCollective.",
  },
  tokens_per_block: {
    type: "integer",
    minimum: 1,
    maximum: 4096,
    default: 64,
    group: "Engine",
    about: "Tokens in a block of a paged KV cache: 8, 16, 32, 64 or 128.",
  },
  use_paged_context_fmha: {
    type: "boolean",
    default: false,
    group: "Engine",
    about:
      "Prefill reads earlier keys and values from the cache: prompts longer than max_num_tokens run in pieces, and run --enable_kv_cache_reuse keeps their beginnings.",
  },
  use_fused_mlp: {
    type: "boolean",
    default: false,
    group: "Engine",
    about:
      "Gate and up projections of the MLP with their activation as one plugin, where a library of --plugins has it. Else the graph keeps two products, which TensorRT joins by itself.",
  },
  tp_size: {
    type: "integer",
    minimum: 1,
    maximum: 1024,
    group: "Engine",
    about: "Checked against the checkpoint, which was split for a number of tensor-parallel ranks by mmtrt convert.",
  },
  pp_size: {
    type: "integer",
    minimum: 1,
    maximum: 1024,
    group: "Engine",
    about: "Checked against the checkpoint, whose layers were dealt out to pipeline stages by mmtrt convert.",
  },
  gpu: {
    type: "string",
    group: "Engine",
    placeholder: "NAME",
    about: "GPU the engines are meant for (A10, L4, RTX 4090, …): refused when its memory cannot hold them.",
  },

  max_batch_size: {
    type: "integer",
    minimum: 1,
    maximum: 65536,
    default: 1,
    group: "Limits",
    about: "Most sequences the engine runs at once; the visual engine takes as many images.",
  },
  opt_batch_size: {
    type: "integer",
    minimum: 1,
    maximum: 65536,
    group: "Limits",
    about: "Batch size the profiles are tuned for. Without it: half of max_batch_size, rounded up.",
  },
  max_input_len: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    default: 1024,
    group: "Limits",
    about: "Longest prompt in tokens, visual features included.",
  },
  max_seq_len: {
    type: "integer",
    minimum: 2,
    maximum: 1 << 24,
    group: "Limits",
    aliases: [{ name: "max_output_len", plus: "max_input_len" }, { name: "max_decoder_seq_len" }],
    about: "Longest prompt and answer together, in tokens. Without it: the model's positions.",
  },
  max_beam_width: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    default: 1,
    group: "Limits",
    about: "Most beams per sequence; 1 for greedy and sampling only.",
  },
  max_multimodal_len: {
    type: "integer",
    minimum: 0,
    maximum: 1 << 24,
    words: ["auto"],
    default: "auto",
    group: "Limits",
    aliases: [{ name: "max_prompt_embedding_table_size" }],
    about:
      "Rows of the prompt table: visual features of all images of a batch. auto is max_batch_size × the most that an image has.",
  },
  max_visual_batch: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    words: ["auto"],
    default: "auto",
    group: "Limits",
    about:
      "What the visual engine encodes in one call: images, or tiles or patches of models that cut images up. More are encoded in several calls, so this bounds memory. auto is max_batch_size images, or the tiles or patches of the largest image.",
  },
  max_encoder_input_len: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Limits",
    about:
      "Longest prompt of an encoder-decoder, visual features included; by default max_input_len, or an image's features where there is no prompt.",
  },
  max_num_tokens: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Limits",
    about:
      "Most tokens of one step over the whole batch. Without it: max_batch_size × max_input_len. Fewer than max_input_len with use_paged_context_fmha only: prompts then run in pieces of max_num_tokens / max_batch_size tokens.",
  },
  opt_num_tokens: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Limits",
    about: "Tokens per step the engine is tuned for, kept in its config. Without it: max_batch_size × max_beam_width.",
  },
  opt_input_len: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Limits",
    about: "Prompt length the context profile is tuned for. Without it: half of max_input_len, rounded up.",
  },
  opt_seq_len: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Limits",
    about: "Total length the generation profile is tuned for. Without it: half of max_seq_len, rounded up.",
  },
  multiple_profiles: {
    type: "boolean",
    default: false,
    group: "Limits",
    about:
      "Several context profiles, cut at 64, 128, 256, 512 and 1024 tokens: short prompts get kernels of their own.",
  },

  ...loraOptions,

  workers: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    default: 1,
    group: "Work",
    about:
      "Engines built at the same time; fewer where max_build_memory holds fewer, by what their builders are predicted to take.",
  },
  max_build_memory: {
    type: "size",
    group: "Work",
    about:
      "Host memory that builders may take together (24GiB): a build that needs more is refused before it starts, and workers wait for room.",
  },
  max_gpu_memory: {
    type: "size",
    group: "Work",
    about:
      "Memory of one GPU that the engines may take when they run (80GiB): weights, cache and activations of the fullest rank. For --backend onnxruntime it is host memory.",
  },

  ...tensorrtOptions,

  ...oldBuildOptions,
});

export type BuildOptions = Values<typeof buildOptions>;
