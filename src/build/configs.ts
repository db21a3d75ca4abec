import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import type {
  BuildConfig,
  EngineEncoderDecoder,
  EngineModel,
  EnginePrompt,
  LlmEngineConfig,
  VisualEngineConfig,
} from "../formats/engine-config.ts";
import { featureRange } from "../models/parts/visual-tokens.ts";
import type { EncoderDecoderSpec, ModelSpec, PromptStyle } from "../models/spec.ts";
import type { BuildOptions } from "../options/tables/build.ts";
import { trainedPositions } from "../rules/lengths.ts";
import type { EnginePlan } from "./plan.ts";
import type { Settings } from "./settings.ts";

/** What `run` needs of the model, from config.json by way of the spec. */
export function engineModel(spec: ModelSpec): EngineModel {
  return {
    architecture: spec.architecture,
    model_type: spec.modelType,
    vocab_size: spec.language.vocabSize,
    image_token_id: spec.imageTokenId ?? null,
    ...(spec.prompt && { prompt: enginePrompt(spec.prompt) }),
    num_visual_features: spec.swin?.numVisualFeatures ?? featureRange(spec).most,
    ...(spec.visualTokens && { visual_tokens: spec.visualTokens }),
    bos_token_id: spec.bosTokenId ?? null,
    eos_token_ids: spec.eosTokenIds,
    pad_token_id: spec.padTokenId ?? null,
    ...(spec.language.positions !== "relative" && { trained_positions: trainedPositions(spec.language) }),
    ...(spec.language.slidingWindow !== undefined && { sliding_window: spec.language.slidingWindow }),
    ...(spec.encoderDecoder && { encoder_decoder: engineEncoderDecoder(spec, spec.encoderDecoder) }),
  };
}

/** Where config.json names no start token, TensorRT-LLM starts Nougat with the begin token, and transformers mBART with the end. */
function engineEncoderDecoder(spec: ModelSpec, pair: EncoderDecoderSpec): EngineEncoderDecoder {
  return {
    has_text_encoder: pair.encoder !== undefined,
    decoder_start_token_id: pair.decoderStartTokenId ?? spec.bosTokenId ?? 0,
    forced_bos_token_id: pair.forcedBosTokenId ?? null,
    forced_eos_token_id: pair.forcedEosTokenId ?? null,
  };
}

function enginePrompt({ template, imageWord, picture, imagesFirst }: PromptStyle): EnginePrompt {
  return {
    template,
    ...(imageWord !== undefined && { image_word: imageWord }),
    ...(picture !== undefined && { picture }),
    ...(imagesFirst !== undefined && { images_first: imagesFirst }),
  };
}

/** `llm/config.json` in TensorRT-LLM's shape: its keys, with our resolved numbers. */
export function llmConfig(
  checkpoint: ConvertedCheckpoint,
  settings: Settings,
  options: BuildOptions,
  engines: readonly EnginePlan[],
  version: string,
  pretrained: LlmEngineConfig["pretrained_config"] = checkpoint.config,
): LlmEngineConfig | null {
  const [first, ...rest] = engines.filter(({ kind }) => kind !== "cross");
  const cross = engines.find(({ kind }) => kind === "cross");
  if (first === undefined) return null;
  const { tpSize, ppSize } = checkpoint.parallel;
  const { slidingWindow, visualSpans } = checkpoint.spec.language;
  const asked = settings.build.compute_dtype;
  const stages = rest.filter(({ rank }) => rank % tpSize === 0);
  return {
    version,
    pretrained_config: asked === "auto" ? pretrained : { ...pretrained, dtype: asked },
    build_config: buildConfig(settings, options, first),
    ...(slidingWindow !== undefined && { sliding_window: slidingWindow }),
    ...(visualSpans === "prompt" && { spans: visualSpans }),
    profiles: first.profiles,
    io: first.io,
    ...(ppSize > 1 && {
      pp_stages: stages.map(stage => ({ first_rank: stage.rank, profiles: stage.profiles, io: stage.io })),
    }),
    ...(cross && { cross: { profiles: cross.profiles, io: cross.io } }),
  };
}

export function buildConfig(
  { build, maxNumTokens, optNumTokens }: Settings,
  options: BuildOptions,
  { graph, options: { computeDtype } }: EnginePlan,
): BuildConfig {
  const wordFor = (op: string): string | null => (graph.plugins[op] === undefined ? null : computeDtype);
  return {
    max_input_len: build.max_input_len,
    max_seq_len: build.max_seq_len,
    opt_batch_size: build.opt_batch_size ?? Math.floor((build.max_batch_size + 1) / 2),
    max_batch_size: build.max_batch_size,
    max_beam_width: build.max_beam_width,
    max_num_tokens: maxNumTokens,
    opt_num_tokens: optNumTokens,
    ...(build.max_encoder_input_len > 0 && { max_encoder_input_len: build.max_encoder_input_len }),
    max_prompt_embedding_table_size: build.max_multimodal_len,
    max_multimodal_len: build.max_multimodal_len,
    kv_cache_type: build.kv_cache_type,
    logits_dtype: build.logits_dtype,
    strongly_typed: true,
    gather_context_logits: false,
    gather_generation_logits: false,
    max_draft_len: 0,
    use_refit: options.refit,
    use_strip_plan: options.strip_plan,
    weight_sparsity: false,
    weight_streaming: options.weight_streaming,
    use_fused_mlp: graph.plugins.FusedGatedMlp !== undefined,
    lora_config: { lora_dir: [], lora_ckpt_source: "hf", max_lora_rank: 64, lora_target_modules: [] },
    plugin_config: {
      gpt_attention_plugin: wordFor("GptAttention"),
      gemm_plugin: graph.plugins.Fp8Matmul === undefined ? wordFor("Gemm") : "fp8",
      lora_plugin: null,
      nccl_plugin: wordFor("AllReduce"),
      paged_kv_cache: build.kv_cache_type === "paged",
      remove_input_padding: false,
      tokens_per_block: build.tokens_per_block,
      use_paged_context_fmha: build.use_paged_context_fmha,
      multiple_profiles: build.multiple_profiles,
    },
  };
}

/** `visual/config.json`: TensorRT-LLM's builder_config beside what the image encoder computes. */
export function visualConfig(
  checkpoint: ConvertedCheckpoint,
  settings: Settings,
  engine: EnginePlan | undefined,
  version: string,
): VisualEngineConfig | null {
  const { vision, swin, packedVision: packed } = checkpoint.spec;
  const shown = vision ?? swin ?? packed;
  if (engine === undefined || shown === undefined) return null;
  // Of packed patches: every image is a multiple of it.
  const edge = packed === undefined ? (vision?.imageSize ?? 1) : packed.patchSize * packed.mergeSize;
  const [height, width] = swin?.imageSize ?? [edge, edge];
  return {
    version,
    builder_config: {
      precision: engine.options.computeDtype,
      model_type: checkpoint.spec.modelType,
      max_batch_size: settings.build.max_visual_batch,
      tensor_parallel: 1,
      strongly_typed: true,
    },
    num_visual_features: (vision ?? swin)?.numVisualFeatures ?? featureRange(checkpoint.spec).most,
    image_shape: [shown.channels, height, width],
    vision: checkpoint.visual?.config ?? {},
    profiles: engine.profiles,
    io: engine.io,
  };
}
