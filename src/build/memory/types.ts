import type { LoraEngineConfig } from "../../formats/lora/engine.ts";
import type { DecoderSpec, EncoderSpec, PackedVisionSpec, SwinSpec, VisionSpec } from "../../models/spec.ts";
import type { Dtype, FloatDtype } from "../../tensor/index.ts";

/** Buffers of one call of the decoder at the largest sizes that a profile allows. */
export interface StepMemory {
  readonly step: "prefill" | "decode";
  /** Over the whole batch, and keys that each of them looks at. */
  readonly tokens: number;
  readonly keys: number;
  readonly bytes: number;
  readonly formula: string;
}

/** One line of the account. Bytes on one GPU; the formula has the numbers that were put in. */
export interface MemoryItem {
  readonly what:
    | "weights"
    | "expanded_weights"
    | "kv_cache"
    | "kv_cache_step"
    | "cross_kv_cache"
    | "activations"
    | "logits"
    | "hidden_states"
    | "prompt_table"
    | "adapters"
    | "encoder_activations"
    | "visual_weights"
    | "visual_activations"
    | "contexts";
  readonly bytes: number;
  readonly formula: string;
}

export interface RankMemory {
  readonly rank: number;
  readonly items: readonly MemoryItem[];
  /** Buffers of each kind of step; `activations` is the larger, which the other uses as well. */
  readonly steps: readonly StepMemory[];
  readonly total: number;
}

export interface MemoryAccount {
  readonly ranks: readonly RankMemory[];
  /** The fullest GPU, which decides whether the plan fits. */
  readonly peak: number;
  /** (model + KV + activation) / parallelism over all GPUs: the average, for comparing plans. */
  readonly average: number;
}

/** Limits of the adapters that a graph takes, and the layers that they change. */
export type AdapterMemory = Pick<
  LoraEngineConfig,
  "modules" | "target_modules" | "layers" | "max_loras" | "max_lora_rank"
>;

export interface MemoryInput {
  readonly language: DecoderSpec;
  /** The text encoder of an encoder-decoder. */
  readonly encoder?: EncoderSpec | undefined;
  readonly vision?: VisionSpec | undefined;
  /** The image encoder where it is a Swin. */
  readonly swin?: SwinSpec | undefined;
  /** Where it takes packed patches; visualBatch counts those. */
  readonly packedVision?: PackedVisionSpec | undefined;
  readonly tpSize: number;
  readonly ppSize: number;
  readonly maxBatchSize: number;
  readonly maxBeamWidth: number;
  readonly maxInputLen: number;
  readonly maxSeqLen: number;
  /** Most tokens of each prompt in one call, where prompts come in pieces. */
  readonly contextPiece?: number | undefined;
  readonly promptRows: number;
  /** Images or tiles that the visual engine sees at once; absent where it is maxBatchSize. */
  readonly visualBatch?: number;
  /** Rows of an encoder's output that the decoder attends to; absent or 0 without an encoder. */
  readonly encoderLen?: number;
  readonly computeDtype: FloatDtype;
  readonly kvDtype: Dtype;
  /** continuous: a step's present_* lie beside the past_* that they extend. */
  readonly cacheType: "continuous" | "static" | "paged";
  readonly tokensPerBlock: number;
  /** Bytes of each rank's weights as loaded (bfloat16 widened to float32 counts double). */
  readonly rankWeights: readonly number[];
  /** Bytes of codes that the runtime turns into floats whole before it multiplies, as floats, by rank. */
  readonly expandedWeights?: readonly number[];
  readonly visualWeights: number;
  /** Adapters that the decoder takes; absent where it takes none. */
  readonly lora?: AdapterMemory | undefined;
  /** Attention that writes its scores to memory: ONNX Runtime's CPU kernel. TensorRT's fused kernels keep them on chip. */
  readonly scoresInMemory: boolean;
  /** Bytes that every execution context of the runtime has besides its buffers. */
  readonly contextBytes: number;
}
