import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import { trtllmCrossDecoderInputs, trtllmEncoderInputs } from "../emit/trtllm-pair-profiles.ts";
import { trtllmDecoderInputs } from "../emit/trtllm-profiles.ts";
import type { TrtllmInput } from "../emit/trtllm-range.ts";
import type { EncoderDecoderSpec } from "../models/spec.ts";
import type { Settings } from "./settings.ts";

/** An engine that TensorRT-LLM would build, by the name that ours has. */
export interface TrtllmEngine {
  readonly name: string;
  readonly inputs: readonly TrtllmInput[];
}

type Planned = Pick<ConvertedCheckpoint, "spec" | "parallel" | "ranks" | "encoder">;

/**
 * What trtllm-build would ask for with the same limits: packed tokens and a paged cache with its attention plugin, which
 * are its defaults, or padded tokens and a contiguous cache with --gpt_attention_plugin disable, the form our graph has.
 * Of an encoder-decoder encoder and decoder; its decoder makes the cross keys and values that a third graph of ours makes.
 */
export function trtllmProfiles(
  checkpoint: Planned,
  settings: Settings,
  loraModules: readonly string[] = [],
): readonly TrtllmEngine[] {
  const pair = checkpoint.spec.encoderDecoder;
  if (pair === undefined)
    return checkpoint.ranks.map((_, rank) => ({
      name: `llm/rank${rank}`,
      inputs: trtllmDecoderInputs({
        ...rankOf(checkpoint, settings, rank),
        ...decoderOf(checkpoint, settings),
        loraModules,
      }),
    }));
  const encoders = (checkpoint.encoder?.ranks ?? []).map((_, rank) => ({
    name: `encoder/rank${rank}`,
    inputs: trtllmEncoderInputs({
      ...halfOf(checkpoint, settings, rank),
      maxInputLen: settings.build.max_encoder_input_len,
      promptRows: settings.build.max_multimodal_len,
    }),
  }));
  const decoders = checkpoint.ranks.map((_, rank) => ({
    name: `decoder/rank${rank}`,
    inputs: trtllmCrossDecoderInputs({
      ...halfOf(checkpoint, settings, rank),
      ...crossDecoderOf(checkpoint, pair, settings),
      layers: layersOf(checkpoint, rank),
    }),
  }));
  return [...encoders, ...decoders];
}

/** What every kind of engine of a rank is given. `customAllReduce` is v0.11's default. */
function rankOf({ spec, parallel }: Planned, { build }: Settings, rank: number) {
  const { tpSize, ppSize } = parallel;
  return {
    maxBatchSize: build.max_batch_size,
    hiddenSize: spec.language.hiddenSize,
    isFirst: rank < tpSize,
    isLast: rank >= tpSize * (ppSize - 1),
    tpSize,
    removeInputPadding: hasPlugin(build),
    customAllReduce: true,
  };
}

function decoderOf({ spec, parallel }: Planned, { build, maxNumTokens, optNumTokens }: Settings) {
  return {
    maxBeamWidth: build.max_beam_width,
    maxInputLen: build.max_input_len,
    maxSeqLen: build.max_seq_len,
    maxNumTokens,
    optNumTokens,
    promptRows: build.max_multimodal_len,
    kvHeads: Math.ceil(spec.language.kvHeads / parallel.tpSize),
    headSize: spec.language.headDim,
    layers: Math.ceil(spec.language.layers / parallel.ppSize),
    gptAttentionPlugin: hasPlugin(build),
    gemmPlugin: build.gemm_plugin !== "disable",
    pagedKvCache: hasPlugin(build),
    tokensPerBlock: build.tokens_per_block,
    multipleProfiles: build.multiple_profiles,
  };
}

function halfOf(checkpoint: Planned, settings: Settings, rank: number) {
  return {
    ...rankOf(checkpoint, settings, rank),
    learnedPositions: checkpoint.spec.language.positions === "learned",
    attentionPlugin: hasPlugin(settings.build),
  };
}

function crossDecoderOf({ spec, parallel }: Planned, pair: EncoderDecoderSpec, { build }: Settings) {
  const { language } = spec;
  return {
    maxBeamWidth: build.max_beam_width,
    // One command builds both halves, and --max_input_len may mean the encoder's: no answer begins with more than it holds.
    maxInputLen: Math.min(build.max_input_len, build.max_seq_len),
    maxSeqLen: build.max_seq_len,
    maxEncoderInputLen: build.max_encoder_input_len,
    encoderSize: pair.encoderSize,
    kvHeads: Math.ceil(language.kvHeads / parallel.tpSize),
    headSize: language.headDim,
    encoderKvHeads: Math.ceil(pair.encoderHeads / parallel.tpSize),
    encoderHeadSize: pair.encoder?.headDim ?? language.hiddenSize / pair.encoderHeads,
    pagedKvCache: hasPlugin(build),
    tokensPerBlock: build.tokens_per_block,
  };
}

function layersOf({ spec, parallel }: Planned, rank: number): readonly number[] {
  const count = Math.ceil(spec.language.layers / parallel.ppSize);
  const first = count * Math.floor(rank / parallel.tpSize);
  return Array.from({ length: count }, (_, layer) => first + layer);
}

function hasPlugin({ gpt_attention_plugin }: Settings["build"]): boolean {
  return gpt_attention_plugin !== "disable";
}
