import type { Problem } from "../diagnostics/index.ts";
import type { ModelSpec } from "../models/spec.ts";
import type { TensorrtKey } from "../options/tables/build-tensorrt.ts";
import type { FloatDtype, WeightLayout } from "../tensor/index.ts";

/** What a rule may know of the checkpoint; numbers of its config.json, no tensor. */
export interface CheckpointFacts {
  readonly dir: string;
  readonly dtype: FloatDtype;
  readonly tpSize: number;
  readonly ppSize: number;
  readonly worldSize: number;
  /** Rank files found. */
  readonly ranks: number;
  /** TensorRT-LLM's words (W8A16, W4A16_AWQ, FP8, …); null for plain weights. */
  readonly quantAlgo: string | null;
  readonly kvCacheQuantAlgo: string | null;
  readonly weightLayout: WeightLayout;
  readonly useParallelEmbedding: boolean;
  readonly embeddingShardingDim: 0 | 1;
  readonly shareEmbeddingTable: boolean;
}

export type PluginChoice = "auto" | "disable" | FloatDtype;

/** The build options with every `auto` resolved. Lengths in tokens, the prompt table in rows. */
export interface BuildSettings {
  readonly backend: "onnxruntime" | "tensorrt" | "tensorrt_rtx";
  readonly compute_dtype: FloatDtype | "auto";
  readonly max_batch_size: number;
  readonly max_input_len: number;
  readonly max_seq_len: number;
  readonly max_beam_width: number;
  readonly max_multimodal_len: number;
  /** Images, tiles or patches that the visual engine encodes in one call. */
  readonly max_visual_batch: number;
  /** What an encoder takes; 0 for a decoder-only model. */
  readonly max_encoder_input_len: number;
  readonly max_num_tokens: number | undefined;
  readonly opt_num_tokens: number | undefined;
  readonly opt_batch_size: number | undefined;
  readonly opt_input_len: number | undefined;
  readonly opt_seq_len: number | undefined;
  readonly multiple_profiles: boolean;
  readonly tp_size: number | undefined;
  readonly pp_size: number | undefined;
  readonly kv_cache_type: "continuous" | "static" | "paged";
  readonly tokens_per_block: number;
  readonly gpt_attention_plugin: PluginChoice;
  readonly bert_attention_plugin: PluginChoice;
  readonly gemm_plugin: PluginChoice | "fp8";
  readonly weight_only_quant_matmul_plugin: PluginChoice;
  readonly smooth_quant_gemm_plugin: PluginChoice;
  readonly rmsnorm_plugin: PluginChoice;
  readonly layernorm_plugin: PluginChoice;
  readonly lookup_plugin: PluginChoice;
  readonly lora_plugin: PluginChoice;
  readonly nccl_plugin: PluginChoice;
  readonly use_fused_mlp: boolean;
  readonly use_paged_context_fmha: boolean;
  readonly logits_dtype: "float32" | "float16";
}

/** What the engines are for, and who builds them. */
export interface TargetFacts {
  readonly backend: BuildSettings["backend"];
  /** Release of TensorRT whose parser reads the graphs; null: the newest. */
  readonly parserVersion: string | null;
  /** TensorScatter: the in-place update of a static cache. */
  readonly hasTensorScatter: boolean;
  /** DistCollective: what tensor-parallel ranks exchange numbers by. */
  readonly hasDistCollective: boolean;
  /** The plugin that does it instead. */
  readonly hasAllReducePlugin: boolean;
  /** The SMs the user named. */
  readonly sms: readonly number[];
  readonly computeDtype: FloatDtype;
  /** SMs of the target without arithmetic in computeDtype. */
  readonly smsWithoutDtype: readonly number[];
  /** GPUs that the builder sees; null where it cannot be asked. */
  readonly gpus: number | null;
  /** Options asked for that keep weights outside of the compiled kernels. */
  readonly needsRefit: readonly ("refit" | "strip_plan")[];
  readonly tensorrtVersion: string | undefined;
  /** Words after `--`. */
  readonly trtexecFlags: readonly string[];
}

export interface RuleContext {
  readonly spec: ModelSpec;
  readonly checkpoint: CheckpointFacts;
  readonly build: BuildSettings;
  readonly target: TargetFacts;
  /** Where the user wrote an option: the flag, `file.yaml:line:col`, or that it is the default. */
  readonly origin: (key: keyof BuildSettings | TensorrtKey) => string;
  /** Whether the user gave the option, or it was chosen for them. */
  readonly given: (key: keyof BuildSettings | TensorrtKey) => boolean;
}

/** One fact about options that must go together: a Problem when they do not. Pure. */
export type Rule = (context: RuleContext) => Problem | undefined;

/** Where a number of the checkpoint stands, for `at`. */
export function inCheckpoint({ checkpoint }: RuleContext, key: string): string {
  return `${checkpoint.dir}/config.json: ${key}`;
}

/** Whole divisors of n in ascending order; the lists in messages stay short because head counts are. */
export function divisors(n: number): readonly number[] {
  const small: number[] = [];
  const large: number[] = [];
  for (let d = 1; d * d <= n; d++) {
    if (n % d !== 0) continue;
    small.push(d);
    if (d * d !== n) large.unshift(n / d);
  }
  return [...small, ...large];
}

/** Bytes for people: `4.5 MiB`. */
export function showBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}
