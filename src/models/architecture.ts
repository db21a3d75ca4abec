import type { Dialect } from "../graph/dialect.ts";
import type { Graph } from "../graph/graph.ts";
import type { FloatDtype, LoraGraph, QuantSpec, Shape } from "../tensor/index.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { ModelSpec } from "./spec.ts";

/**
 * How a tensor is shared among tensor-parallel ranks. Weights are [out, in] as Hugging Face stores them.
 * column: axis 0 split (bias too) · row: axis 1 split, bias whole · qkv: q, k and v split each by heads, then stacked
 * · halves: both halves of the rows split each, then stacked · vocab: rows padded to a multiple of tp, then split · embedding: as --use_parallel_embedding says · replicated.
 */
export type Split = "column" | "row" | "qkv" | "halves" | "vocab" | "embedding" | "replicated";

/** A stored tensor by its canonical name (after `ModelWeights.names`), with the shape that config.json implies. */
export interface SourceTensor {
  readonly name: string;
  readonly shape: Shape;
  /** Taken where `name` is not stored: a head that is tied or not, as the file tells. */
  readonly otherwise?: string;
}

/** First row, and the one after the last. */
export type RowRange = readonly [number, number];

/** One tensor of the TensorRT-LLM checkpoint. `{l}` stands for the layer: global in `from`, local to the pipeline rank in `to`. */
export interface WeightRule {
  readonly to: string;
  /** Stored tensors stacked on axis 0 in this order (q, k, v). */
  readonly from: readonly SourceTensor[];
  readonly split: Split;
  /** Pipeline stages that hold it. TensorRT-LLM gives the tables and the last norm of encoder-decoders to every stage. */
  readonly stage: "first" | "layer" | "last" | "every";
  /** Left out when the vocabulary table is shared (--use_embedding_sharing): the lm_head of a tied model. */
  readonly tied?: boolean;
  /** GPT-2's Conv1D keeps [in, out]; `from` has the stored shape. */
  readonly transpose?: boolean;
  /** Ranges of the one stored tensor's rows in the order in which the product has them (InternLM2's wqkv, Phi-3's gate_up). */
  readonly rows?: readonly RowRange[];
  /** Added to every value, in float32 (Gemma's norms). */
  readonly plus?: number;
  /** Rows that one stored tensor is cut into before it is split (GPT-2's c_attn holds q, k and v). */
  readonly cut?: readonly number[];
  /** The one source is multiplied by this matrix on its right, or by its transpose (OPT-350m's project_out, project_in). */
  readonly times?: { readonly matrix: SourceTensor; readonly transposed: boolean };
  /** Rows dropped from the front (OPT's and BART's position tables start 2 rows late). */
  readonly skipRows?: number;
}

/** A tensor of `visual/model.safetensors`: kept whole under one normalised Hugging Face name, the canonical one. */
export type VisualRule = SourceTensor;

/** Rewrites the spelling of one stored name layout into the canonical one; the first pattern that fits is used. */
export interface NameRule {
  readonly stored: RegExp;
  readonly canonical: string;
}

export interface ModelWeights {
  readonly names: readonly NameRule[];
  readonly language: readonly WeightRule[];
  /** Of the text encoder, in a directory of its own; `language` is the decoder then. */
  readonly encoder?: readonly WeightRule[];
  readonly visual: readonly VisualRule[];
  /** Canonical names that are known and of no use (rotary inv_freq buffers, position_ids, layers past the feature layer). */
  readonly ignore: readonly RegExp[];
  /** What transformers puts before the language model's canonical names when it saves; `synth` writes them so. */
  readonly languagePrefix?: string;
  /** A canonical name as published files have it, where that is no prefix; `synth` writes it so. */
  published?(canonical: string): string;
  /** Tensors transformers saves that nothing here uses; `synth` writes them, `convert` ignores them. */
  readonly unused?: readonly SourceTensor[];
  /** A stored copy of another tensor: not written, but refused when its bytes differ (lm_head beside tied embeddings). */
  readonly copies?: readonly { readonly name: string; readonly of: string }[];
  /** Stored tensors that are left out because they are all zero, and refused when they are not (BART's final_logits_bias). */
  readonly zeros?: readonly string[];
}

/** How a checkpoint is dealt out and stored, as far as its config.json tells. */
export interface CheckpointLayout {
  readonly dtype: FloatDtype;
  readonly tpSize: number;
  readonly ppSize: number;
  readonly parallelEmbedding: boolean;
  readonly embeddingShardingDim: 0 | 1;
  readonly shareEmbedding: boolean;
  /** Meta's files take another path through NVIDIA's converter, which writes other keys. */
  readonly fromMeta: boolean;
  readonly quantization?: QuantSpec;
}

/** config.json of a TensorRT-LLM checkpoint: the keys every architecture has. Sizes are element counts. */
export interface CheckpointConfig {
  readonly architecture: string;
  readonly dtype: FloatDtype;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly hidden_act: string;
  readonly position_embedding_type: string;
  readonly mapping: {
    readonly world_size: number;
    readonly tp_size: number;
    readonly pp_size: number;
    readonly gpus_per_node?: number;
  };
  readonly quantization: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** What a model cannot be asked for when it is dealt out, each with the reason; TensorRT-LLM's own limits. */
export interface DealLimits {
  /** pp_size must be 1. */
  readonly onePipelineStage?: string;
  /** Layers that the first pipeline stage must have at least. */
  readonly firstStageLayers?: { readonly least: number; readonly why: string };
  /** The embedding table is neither split nor shared with lm_head, whatever the options say. */
  readonly plainEmbedding?: string;
  /** vocab_size must be a multiple of tp_size: lm_head is split without padding. */
  readonly unpaddedVocabulary?: string;
}

/** continuous: concatenated, of any length; static: a fixed capacity written in place; paged: blocks of a pool. */
export type KvCacheOptions =
  | { readonly type: "continuous" }
  | { readonly type: "static"; readonly capacity: number }
  | { readonly type: "paged"; readonly tokensPerBlock: number };

/** What decides how a rank's graph looks, besides the model. */
export interface GraphOptions {
  /** dtype of the weights in the checkpoint. */
  readonly weightDtype: FloatDtype;
  /** dtype the graph computes in: bfloat16 weights run as float32 in ONNX Runtime, whose CPU kernels lack bfloat16. */
  readonly computeDtype: FloatDtype;
  readonly tpSize: number;
  readonly ppSize: number;
  readonly rank: number;
  readonly kvCache: KvCacheOptions;
  /** Operators the builder's TensorRT knows. */
  readonly dialect: Dialect;
  /** Of the `logits` output; float32 where it is not given. */
  readonly logitsDtype?: "float32" | "float16";
  /** Prompt-table inputs are there when the model takes visual features. */
  readonly promptTable: boolean;
  /** lm_head is not stored: the word table serves (--use_embedding_sharing). */
  readonly shareEmbedding?: boolean;
  /** Axis that the word table, and a decoder's position table, are split on; absent where every rank has all of it. */
  readonly parallelEmbedding?: 0 | 1;
  /** Form of the linear layers and of the KV cache; absent where everything is plain. */
  readonly quantization?: QuantSpec;
  /** Fused operations that become nodes a plugin may take; absent where all are standard operators in place. */
  readonly plugins?: readonly string[];
  /** Adapters that the decoder takes as inputs (--lora_dir, --lora_plugin). */
  readonly lora?: LoraGraph;
}

/** Everything mmtrt knows about one family; one file per architecture, found by directory listing. */
export interface Architecture {
  /** Hugging Face class names (`architectures[0]`). */
  readonly hf: readonly string[];
  /** config.json comes with the image processor's settings under `image_processor_cfg`, where the directory has them. */
  readonly readsProcessor?: boolean;
  readSpec(config: ConfigReader): ModelSpec;
  weights(spec: ModelSpec): ModelWeights;
  /** config.json of the converted checkpoint, key by key as NVIDIA's converter for this architecture writes it. */
  checkpointConfig(spec: ModelSpec, layout: CheckpointLayout): CheckpointConfig;
  /** The same for `encoder/`, where the model has a text encoder; `checkpointConfig` is `decoder/`'s then. */
  encoderConfig?(spec: ModelSpec, layout: CheckpointLayout): CheckpointConfig;
  limits?(spec: ModelSpec): DealLimits;
  /** The decoder of one rank: DESIGN §5's contract. */
  languageGraph(spec: ModelSpec, options: GraphOptions): Graph;
  /** Token ids → `encoder_output` [batch, encoder_seq, hidden], of encoder-decoders. */
  encoderGraph?(spec: ModelSpec, options: GraphOptions): Graph;
  /** `encoder_output` → the keys and values that the decoder of this rank attends to: once a request. */
  crossGraph?(spec: ModelSpec, options: GraphOptions): Graph;
  /** `input` [batch, channels, height, width] → `output` [batch, num_visual_features, llm_hidden]. */
  visualGraph?(spec: ModelSpec, options: GraphOptions): Graph;
}

/** Identity with a type: lets an architecture file be a plain default export. */
export function defineArchitecture(architecture: Architecture): Architecture {
  return architecture;
}
