import type { DecoderSpec, ModelSpec, VisionSpec } from "../../src/models/spec.ts";
import { tensorrtOptions } from "../../src/options/tables/build-tensorrt.ts";
import type { BuildSettings, CheckpointFacts, RuleContext, TargetFacts } from "../../src/rules/rule.ts";

/** LLaMA-7B's sizes, with what a test changes. */
export function decoder(change: Partial<DecoderSpec> = {}): DecoderSpec {
  return {
    kind: "decoder",
    architecture: "LlamaForCausalLM",
    vocabSize: 32064,
    hiddenSize: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 32,
    headDim: 128,
    intermediateSize: 11008,
    activation: "silu",
    mlp: "gated",
    norm: "rms",
    normEps: 1e-5,
    positions: "rope",
    maxPositions: 4096,
    ropeTheta: 10000,
    attentionBias: false,
    outputBias: false,
    mlpBias: false,
    tiedEmbeddings: false,
    ...change,
  };
}

/** CLIP ViT-L/14 at 336 pixels, layer −2, as in LLaVA-1.5: 576 features. */
export function clip(change: Partial<VisionSpec> = {}): VisionSpec {
  return {
    kind: "clip",
    imageSize: 336,
    patchSize: 14,
    channels: 3,
    hiddenSize: 1024,
    layers: 24,
    heads: 16,
    intermediateSize: 4096,
    activation: "quick_gelu",
    normEps: 1e-5,
    runLayers: 23,
    dropClassToken: true,
    numVisualFeatures: 576,
    ...change,
  };
}

export function llama(change: Partial<DecoderSpec> = {}): ModelSpec {
  return {
    architecture: "LlamaForCausalLM",
    modelType: "llama",
    declaredDtype: "float16",
    language: decoder(change),
    eosTokenIds: [2],
  };
}

/** The same sizes as the decoder of a pair, whose encoder is as large; relative positions have T5's buckets. */
export function pair(change: Partial<DecoderSpec> = {}): ModelSpec {
  const language = decoder(change);
  const { layers, heads, headDim, intermediateSize } = language;
  return {
    ...llama(),
    language,
    encoderDecoder: {
      encoder: { layers, heads, headDim, intermediateSize },
      encoderSize: language.hiddenSize,
      encoderHeads: heads,
      ...(language.positions === "relative" && { relative: { buckets: 32, maxDistance: 128 } }),
      embeddingScale: false,
      embeddingNorm: false,
      finalNorm: true,
      scaledAttention: false,
      scaledLogits: false,
    },
  };
}

export function llava(change: Partial<DecoderSpec> = {}, vision: Partial<VisionSpec> = {}): ModelSpec {
  const language = decoder(change);
  const tower = clip(vision);
  return {
    ...llama(),
    architecture: "LlavaForConditionalGeneration",
    modelType: "llava",
    language,
    vision: tower,
    projector: {
      kind: "mlp2",
      inputSize: tower.hiddenSize,
      hiddenSize: language.hiddenSize,
      outputSize: language.hiddenSize,
      activation: "gelu",
      bias: true,
    },
    imageTokenId: 32000,
  };
}

export const SETTINGS: BuildSettings = {
  backend: "onnxruntime",
  max_batch_size: 1,
  max_input_len: 1024,
  max_seq_len: 2048,
  max_beam_width: 1,
  max_multimodal_len: 576,
  max_visual_batch: 1,
  max_encoder_input_len: 0,
  max_num_tokens: undefined,
  opt_num_tokens: undefined,
  opt_batch_size: undefined,
  opt_input_len: undefined,
  opt_seq_len: undefined,
  multiple_profiles: false,
  tp_size: undefined,
  pp_size: undefined,
  kv_cache_type: "continuous",
  tokens_per_block: 64,
  gpt_attention_plugin: "auto",
  weight_only_quant_matmul_plugin: "auto",
  rmsnorm_plugin: "auto",
  layernorm_plugin: "auto",
  lookup_plugin: "auto",
  bert_attention_plugin: "disable",
  gemm_plugin: "disable",
  smooth_quant_gemm_plugin: "auto",
  lora_plugin: "disable",
  nccl_plugin: "auto",
  use_fused_mlp: false,
  use_paged_context_fmha: false,
  logits_dtype: "float32",
  compute_dtype: "auto",
};

export const CHECKPOINT: CheckpointFacts = {
  dir: "ckpt",
  dtype: "float16",
  tpSize: 1,
  ppSize: 1,
  worldSize: 1,
  weightLayout: "plain",
  ranks: 1,
  quantAlgo: null,
  kvCacheQuantAlgo: null,
  useParallelEmbedding: false,
  embeddingShardingDim: 0,
  shareEmbeddingTable: false,
};

/** LLaVA-1.5-7B at batch 1, for which every rule holds. */
const TARGET: TargetFacts = {
  backend: "onnxruntime",
  parserVersion: null,
  hasTensorScatter: true,
  hasDistCollective: true,
  hasAllReducePlugin: false,
  sms: [],
  computeDtype: "float16",
  smsWithoutDtype: [],
  gpus: null,
  needsRefit: [],
  tensorrtVersion: undefined,
  trtexecFlags: [],
};

export function ruleContext(change: {
  readonly spec?: ModelSpec;
  readonly build?: Partial<BuildSettings>;
  readonly checkpoint?: Partial<CheckpointFacts>;
  readonly target?: Partial<TargetFacts>;
  /** The options the user typed; unless said all but those of TensorRT. */
  readonly given?: readonly string[];
}): RuleContext {
  return {
    spec: change.spec ?? llava(),
    build: { ...SETTINGS, ...change.build },
    target: { ...TARGET, ...change.target },
    checkpoint: { ...CHECKPOINT, ...change.checkpoint },
    origin: key => `--${key} (command line)`,
    given: key => change.given?.includes(key) ?? !Object.hasOwn(tensorrtOptions, key),
  };
}
