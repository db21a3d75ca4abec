import type { Problem } from "../diagnostics/index.ts";
import type { ModelSpec } from "../models/spec.ts";
import type { FloatDtype, QuantSpec, WeightLayout } from "../tensor/index.ts";
import type { CoverageSummary } from "./coverage.ts";
import type { Parallel } from "./shard.ts";

/** Names inside a converted checkpoint. */
export const CONFIG_FILE = "config.json";
export const MANIFEST_FILE = "mmtrt.json";
/** The source's config: build and run read the model from it again. */
export const HF_CONFIG_FILE = "hf_config.json";
export const TOKENIZER_DIR = "tokenizer";
export const VISUAL_DIR = "visual";
/** The two halves of an encoder-decoder, each laid out as a decoder-only model is at the top. */
export const ENCODER_DIR = "encoder";
const DECODER_DIR = "decoder";
export const VISUAL_WEIGHTS = "model.safetensors";

/** Where config and ranks of the language model are: the top, or `decoder/`. */
export function languageDir({ encoderDecoder }: ModelSpec): string {
  return encoderDecoder === undefined ? "" : DECODER_DIR;
}

export function rankFile(rank: number): string {
  return `rank${rank}.safetensors`;
}

export interface SourceFileRecord {
  /** Relative to the source directory. */
  readonly name: string;
  readonly size: number;
  /** SHA-256 of size and 64 samples (src/checkpoint/hash.ts): says which file it was. */
  readonly sample_sha256: string;
  /** Plain SHA-256 of the whole file, as the Hugging Face Hub shows it; null without --hash. */
  readonly sha256: string | null;
}

/** A source that came from the Hugging Face Hub. */
export interface DownloadRecord {
  /** The option of convert that named it. */
  readonly option: string;
  /** `org/name`. */
  readonly repo: string;
  /** As asked for: a branch, a tag, or the commit. */
  readonly revision: string;
  /** What that was on the day; `--revision` with it gives the same files again. */
  readonly commit: string;
}

/** NaN and infinite values written into one tensor of one rank. */
export interface NonFinite {
  readonly file: string;
  readonly tensor: string;
  readonly nan: number;
  readonly infinite: number;
}

/** The options that decide which bytes are written, resolved (no `auto`). */
export interface ConvertSettings {
  readonly dtype: FloatDtype;
  readonly tp_size: number;
  readonly pp_size: number;
  readonly use_parallel_embedding: boolean;
  readonly embedding_sharding_dim: 0 | 1;
  readonly use_embedding_sharing: boolean;
  /** There when something is quantized; `quantization` of config.json has the same in TensorRT-LLM's words. */
  readonly quant_algo?: QuantSpec["quantAlgo"];
  readonly kv_cache_quant_algo?: QuantSpec["kvCacheQuantAlgo"];
  readonly group_size?: number;
  readonly weight_layout?: WeightLayout;
  readonly float_weights?: boolean;
  readonly quantized_lm_head?: true;
  /** Strength of SmoothQuant. */
  readonly smoothquant_val?: number;
  /** Of the file of ranges that scales were made from. */
  readonly act_ranges_sha256?: string;
}

/** The settings' part that says how the model is dealt out, and in which dtype. */
export function splitSettings(dtype: FloatDtype, parallel: Parallel): ConvertSettings {
  return {
    dtype,
    tp_size: parallel.tpSize,
    pp_size: parallel.ppSize,
    use_parallel_embedding: parallel.parallelEmbedding,
    embedding_sharding_dim: parallel.embeddingShardingDim,
    use_embedding_sharing: parallel.shareEmbedding,
  };
}

/** The settings' part that says what is quantized. */
export function quantizationSettings(quant: QuantSpec | undefined, rangesSha256?: string): Partial<ConvertSettings> {
  if (quant === undefined) return {};
  return {
    quant_algo: quant.quantAlgo,
    kv_cache_quant_algo: quant.kvCacheQuantAlgo,
    group_size: quant.groupSize,
    weight_layout: quant.weightLayout,
    float_weights: quant.floatWeights,
    ...(quant.excludeModules.length === 0 && { quantized_lm_head: true as const }),
    ...(quant.smoothquantVal !== null && { smoothquant_val: quant.smoothquantVal }),
    ...(rangesSha256 !== undefined && { act_ranges_sha256: rangesSha256 }),
  };
}

/** `mmtrt.json` of a converted checkpoint. */
export interface CheckpointManifest {
  readonly kind: "checkpoint";
  /** Layout version of the directory; another number is refused. */
  readonly format: 1;
  /** Version of mmtrt that wrote it. */
  readonly version: string;
  /** Of inputs and settings: a run with the same one is continued, or has nothing to do. */
  readonly fingerprint: string;
  readonly architecture: string;
  readonly source: {
    readonly format: "safetensors" | "torch" | "meta" | "gguf";
    readonly files: readonly SourceFileRecord[];
    /** Absent for a model from disk. */
    readonly hub?: readonly DownloadRecord[];
  };
  readonly options: ConvertSettings;
  /** Weight files written, with their sizes in bytes. */
  readonly files: readonly { readonly name: string; readonly size: number }[];
  readonly coverage: CoverageSummary;
  readonly non_finite: readonly NonFinite[];
  readonly warnings: readonly Problem[];
}
