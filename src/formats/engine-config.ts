import type { Dtype } from "../tensor/index.ts";
import type { VisualTokenRule } from "../vision/index.ts";
import type { LoraEngineConfig } from "./lora/engine.ts";

/**
 * The JSON of an engine directory (DESIGN §5), written by `build` and read by `run`, `inspect` and `explain`.
 * It lives under formats/ because build/ and runtime/ may not import each other.
 */

/** Sizes of one input at the three points of an optimization profile. */
export interface ProfileRange {
  readonly min: readonly number[];
  readonly opt: readonly number[];
  readonly max: readonly number[];
}

/** Range of one named size (`batch`, `seq`, `past`, `rows`) in a profile. */
export interface SizeRange {
  readonly min: number;
  readonly opt: number;
  readonly max: number;
}

export interface EngineProfile {
  /** `context` (prefill) and `generation` (decode) for a decoder, `images` for a visual engine. */
  readonly name: string;
  /** The named sizes that `shapes` was computed from; attention_mask's `past + seq` is their sum at each point. */
  readonly sizes: Readonly<Record<string, SizeRange>>;
  readonly shapes: Readonly<Record<string, ProfileRange>>;
}

export interface EngineIo {
  readonly name: string;
  readonly kind: "input" | "output";
  readonly dtype: Dtype;
  /** −1 where the size depends on the request. */
  readonly shape: readonly number[];
  /** The same with names: `["batch", "past + seq"]`. */
  readonly dims: readonly (number | string)[];
}

/** What was asked for, in TensorRT-LLM's spelling; all numbers resolved (no `auto` left). Lengths in tokens, table in rows. */
export interface BuildConfig {
  readonly max_batch_size: number;
  readonly max_input_len: number;
  readonly max_seq_len: number;
  readonly max_beam_width: number;
  /** max_batch_size × num_visual_features × images; 0 for a model without a prompt table. */
  readonly max_prompt_embedding_table_size: number;
  readonly max_multimodal_len: number;
  readonly max_num_tokens: number;
  readonly opt_num_tokens: number;
  readonly opt_batch_size: number;
  readonly kv_cache_type: "continuous" | "static" | "paged";
  readonly logits_dtype: "float32" | "float16";
  readonly strongly_typed: boolean;
  readonly plugin_config: Readonly<Record<string, string | number | boolean | null>>;
  readonly [key: string]: unknown;
}

/** A pipeline stage that is not the first has other inputs, so it carries its own table. */
export interface PipelineStage {
  /** Ranks first_rank … first_rank + tp_size − 1 share it. */
  readonly first_rank: number;
  readonly profiles: readonly EngineProfile[];
  readonly io: readonly EngineIo[];
}

/** `llm/config.json`; of an encoder-decoder `encoder/config.json` and `decoder/config.json`. */
export interface LlmEngineConfig {
  /** Version of mmtrt; TensorRT-LLM's runtime asks for the key only. */
  readonly version: string;
  /** The checkpoint's config.json, whole: dtype, vocab_size, num_hidden_layers, mapping, quantization, … */
  readonly pretrained_config: Readonly<Record<string, unknown>>;
  readonly build_config: BuildConfig;
  /** Tokens that a query sees, itself included; absent where it sees all before it. */
  readonly sliding_window?: number;
  /** What `visual_spans` tells of: all of a prompt; an image's tokens where it is absent. */
  readonly spans?: "prompt";
  /** Of rank 0 and its tensor-parallel peers. */
  readonly profiles: readonly EngineProfile[];
  readonly io: readonly EngineIo[];
  /** Only with pp_size > 1: stages 1 … pp_size − 1. */
  readonly pp_stages?: readonly PipelineStage[];
  /** There where the graph takes adapters. */
  readonly lora?: LoraEngineConfig;
  /** Of an encoder-decoder's decoder: the graph that makes the keys and values it attends to. */
  readonly cross?: { readonly profiles: readonly EngineProfile[]; readonly io: readonly EngineIo[] };
}

/** `visual/config.json`: `builder_config` is TensorRT-LLM's, `vision` is the checkpoint's visual/config.json, whole. */
export interface VisualEngineConfig {
  readonly version: string;
  readonly builder_config: {
    /** dtype of `input` and `output`. */
    readonly precision: "float32" | "float16" | "bfloat16";
    readonly model_type: string;
    readonly max_batch_size: number;
    readonly tensor_parallel: 1;
    readonly strongly_typed: boolean;
  };
  /** Rows of `output` that an item of its batch gives: an image, or a tile. */
  readonly num_visual_features: number;
  /** channels, height, width of `input`. */
  readonly image_shape: readonly [number, number, number];
  readonly vision: Readonly<Record<string, unknown>>;
  readonly profiles: readonly EngineProfile[];
  readonly io: readonly EngineIo[];
}

export type Backend = "onnxruntime" | "tensorrt" | "tensorrt_rtx";

/** How a question becomes the prompt where the model has no chat template. */
export interface EnginePrompt {
  /** `{images}` becomes a placeholder and a line break for each image, `{question}` the question. */
  readonly template: string;
  /** Word that stands for an image in text, where no token of the vocabulary has `image_token_id`. */
  readonly image_word?: string;
  /** What an image is in the place of `{images}`, `{image}` being its placeholder; absent: that and a line break. */
  readonly picture?: string;
  /** Features come before everything, the begin token included. */
  readonly images_first?: boolean;
}

/** What `run` has to know about the model besides the shapes; token ids as in the Hugging Face config. */
export interface EngineModel {
  /** Hugging Face class of the whole model (LlavaForConditionalGeneration), not of its language part. */
  readonly architecture: string;
  readonly model_type: string;
  readonly vocab_size: number;
  /** Negative where the vocabulary has no token for an image. */
  readonly image_token_id: number | null;
  readonly prompt?: EnginePrompt;
  /** Of an image, or the most that one can bring where `visual_tokens` tells; 0 for a model that takes no images. */
  readonly num_visual_features: number;
  /** There where images bring different numbers of features. */
  readonly visual_tokens?: VisualTokenRule;
  readonly bos_token_id: number | null;
  readonly eos_token_ids: readonly number[];
  readonly pad_token_id: number | null;
  /** Tokens whose positions were trained, scaling counted in; absent where they are distances or the builder was older. */
  readonly trained_positions?: number;
  /** Tokens a token sees, itself included; absent where it sees all before it. */
  readonly sliding_window?: number;
  /** There for models whose prompt, or image, goes through an encoder; a decoder answers. */
  readonly encoder_decoder?: EngineEncoderDecoder;
}

/** How the decoder's answers begin and end. */
export interface EngineEncoderDecoder {
  /** false: the image encoder's features are attended to, and there is no prompt. */
  readonly has_text_encoder: boolean;
  readonly decoder_start_token_id: number;
  readonly forced_bos_token_id: number | null;
  readonly forced_eos_token_id: number | null;
}

/** One graph with its weights, and its serialized engine when the backend makes one. Paths are relative to the directory. */
export interface EnginePart {
  /** `llm/rank0`, `visual`; of an encoder-decoder `encoder/rank0`, `decoder/rank0`, `decoder/cross_rank0`. */
  readonly name: string;
  readonly onnx: string;
  readonly weights: string;
  /** Word tables of an adapter, which the graph has in the place of those in `weights`. */
  readonly tables?: string;
  readonly engine: string | null;
  readonly fingerprint: string;
  readonly onnx_sha256: string;
  /** The engine as its builder reported it; null where the backend builds none. */
  readonly built?: BuiltEngine | null;
}

/** What was read back from a built engine and its builder. */
export interface BuiltEngine {
  readonly bytes: number;
  readonly builder: string;
  readonly tensorrt: string | null;
  readonly sm: readonly number[];
  readonly seconds: number;
  /** Where inputs and outputs were read that were compared with `io`: engine, engine_log or network; null: nowhere. */
  readonly io_from: string | null;
  /** Layers of the parsed network, and of the engine after fusion, by TensorRT's type name. */
  readonly layers: Readonly<Record<string, number>> | null;
  readonly engine_layers: Readonly<Record<string, number>> | null;
  /** Weights, and what a context of the largest profile takes beside them. */
  readonly memory_bytes: { readonly weights: number; readonly activation: number } | null;
  /** Most memory the builder has held, and what the plan had predicted. */
  readonly peak_host_mib: number | null;
  readonly predicted_host_mib?: number | null;
  readonly log: string;
}

/** What a serialized engine is bound to; null where the backend builds none. */
export interface EngineTarget {
  readonly tensorrt: string;
  /** Compute capabilities the engine runs on, as 89 for 8.9. */
  readonly sm: readonly number[];
  readonly plugin_abi: string | null;
  /** Plugin libraries that the engines call, by their content; absent without any. */
  readonly plugin_libraries?: readonly { readonly file: string; readonly sha256: string }[];
}

/** `mmtrt.json` of an engine directory. */
export interface EngineManifest {
  readonly kind: "engine";
  /** Layout version of the directory; another number is refused. */
  readonly format: 1;
  /** Version of mmtrt that built it. */
  readonly version: string;
  /** Of the whole plan: equal fingerprints mean there is nothing to do. */
  readonly fingerprint: string;
  readonly backend: Backend;
  readonly target: EngineTarget | null;
  readonly model: EngineModel;
  readonly parts: readonly EnginePart[];
  readonly steps: readonly { readonly id: string; readonly fingerprint: string }[];
  /** Resolved options that shape the engines. */
  readonly options: Readonly<Record<string, unknown>>;
}
