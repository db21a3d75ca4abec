import type { ConvertedCheckpoint } from "../checkpoint/read.ts";
import { type TrtllmInput, trtllmDecoderInputs } from "../emit/trtllm-profiles.ts";
import type { Settings } from "./settings.ts";

/**
 * What trtllm-build would ask for with the same limits: packed tokens and a paged cache with its attention plugin, which
 * are its defaults, or padded tokens and a contiguous cache with --gpt_attention_plugin disable, the form our graph has.
 */
export function trtllmProfiles(
  { spec, parallel, ranks }: ConvertedCheckpoint,
  { build, maxNumTokens, optNumTokens }: Settings,
): readonly { readonly name: string; readonly inputs: readonly TrtllmInput[] }[] {
  const { tpSize, ppSize } = parallel;
  const plugin = build.gpt_attention_plugin !== "disable";
  return ranks.map((_, rank) => ({
    name: `llm/rank${rank}`,
    inputs: trtllmDecoderInputs({
      maxBatchSize: build.max_batch_size,
      maxBeamWidth: build.max_beam_width,
      maxInputLen: build.max_input_len,
      maxSeqLen: build.max_seq_len,
      maxNumTokens,
      optNumTokens,
      promptRows: build.max_multimodal_len,
      hiddenSize: spec.language.hiddenSize,
      kvHeads: Math.ceil(spec.language.kvHeads / tpSize),
      headSize: spec.language.headDim,
      layers: Math.ceil(spec.language.layers / ppSize),
      isFirst: rank < tpSize,
      isLast: rank >= tpSize * (ppSize - 1),
      tpSize,
      removeInputPadding: plugin,
      gptAttentionPlugin: plugin,
      gemmPlugin: build.gemm_plugin !== "disable",
      pagedKvCache: plugin,
      tokensPerBlock: build.tokens_per_block,
      multipleProfiles: build.multiple_profiles,
      customAllReduce: true,
      loraModules: [],
    }),
  }));
}
