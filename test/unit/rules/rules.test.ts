import { describe, expect, it } from "vitest";
import { formatProblem } from "../../../src/diagnostics/index.ts";
import { beamFitsVocabulary } from "../../../src/rules/beam.ts";
import { ADVICE, checkRules, RULES, type Rule } from "../../../src/rules/index.ts";
import * as lengths from "../../../src/rules/lengths.ts";
import {
  everyImageFits,
  promptTableHoldsBatch,
  promptTableIsUsed,
  visualBatchHoldsImage,
  visualBatchHoldsPrompt,
} from "../../../src/rules/multimodal.ts";
import * as pagedContext from "../../../src/rules/paged-context.ts";
import * as parallel from "../../../src/rules/parallel.ts";
import * as plugins from "../../../src/rules/plugins.ts";
import { bfloat16IsWidened, computeDtypeCasts, logitsKeepBits, t5HasRange } from "../../../src/rules/precision.ts";
import * as quantization from "../../../src/rules/quantization.ts";
import { divisors, showBytes } from "../../../src/rules/rule.ts";
import { scoresFitTensor } from "../../../src/rules/tensor-volume.ts";
import * as tensorrt from "../../../src/rules/tensorrt.ts";
import { llama, llava, pair, ruleContext } from "../../support/specs.ts";

type Change = Parameters<typeof ruleContext>[0];

/** Images of 5 to 17 tiles of 64 features, with 12 to 39 markers about them. */
const TILED: Change["spec"] = {
  ...llava(),
  visualTokens: {
    ...{ kind: "longest_edge_tiles", longest_edge: 2048, tile: 512, splits: true },
    ...{ features_per_tile: 64, patches_per_tile: 1024 },
  },
};

/** Each rule with inputs it refuses, what its message must say, and the nearest inputs it accepts. */
interface Case {
  readonly rule: Rule;
  readonly name: string;
  readonly fails: Change;
  readonly says: readonly string[];
  readonly passes: Change;
}

const CASES: readonly Case[] = [
  {
    rule: lengths.inputFitsSequence,
    name: "max_input_len above max_seq_len",
    fails: { build: { max_input_len: 2049, max_seq_len: 2048 } },
    says: ["BLD010", "max_input_len 2049 is larger than max_seq_len 2048", "--max_seq_len 2050 or more"],
    passes: { build: { max_input_len: 2048, max_seq_len: 2048 } },
  },
  {
    rule: lengths.positionsExist,
    name: "learned positions that end",
    fails: { spec: llama({ positions: "learned", maxPositions: 2048 }), build: { max_seq_len: 2049 } },
    says: ["BLD012", "max_seq_len 2049 is larger than the 2048 positions", "--max_seq_len 2048"],
    passes: { spec: llama({ positions: "learned", maxPositions: 2048 }), build: { max_seq_len: 2048 } },
  },
  {
    rule: lengths.encoderPositionsExist,
    name: "an encoder's learned positions that end",
    fails: {
      spec: pair({ positions: "learned", maxPositions: 61 }),
      build: { max_encoder_input_len: 62 },
      given: ["max_input_len"],
    },
    says: ["BLD052", "max_encoder_input_len 62 is larger than the 61 positions", "--max_input_len 61 or less"],
    passes: { spec: pair({ positions: "learned", maxPositions: 61 }), build: { max_encoder_input_len: 61 } },
  },
  {
    rule: t5HasRange,
    name: "T5 in float16",
    fails: { spec: pair({ positions: "relative" }), target: { computeDtype: "float16" } },
    says: ["BLD053", "beyond float16's 65504", "--dtype bfloat16"],
    passes: { spec: pair({ positions: "relative" }), target: { computeDtype: "bfloat16" } },
  },
  {
    rule: scoresFitTensor,
    name: "scores of a whole prompt of a million tokens",
    fails: { build: { backend: "tensorrt", max_input_len: 1_048_575, max_seq_len: 1_048_576 } },
    says: [
      "BLD058",
      "32 × 1048575 × 1048575 elements",
      "at most 2^40",
      "--use_paged_context_fmha --max_num_tokens 8192",
    ],
    passes: {
      build: {
        backend: "tensorrt",
        max_input_len: 1_048_575,
        max_seq_len: 1_048_576,
        use_paged_context_fmha: true,
        max_num_tokens: 8192,
      },
    },
  },
  {
    rule: scoresFitTensor,
    name: "scores of a full static cache",
    fails: { build: { backend: "tensorrt", kv_cache_type: "static", max_input_len: 32_769, max_seq_len: 1_048_576 } },
    says: ["BLD058", "32 × 32769 × 1048576 elements"],
    passes: { build: { backend: "tensorrt", kv_cache_type: "static", max_input_len: 32_768, max_seq_len: 1_048_576 } },
  },
  {
    rule: lengths.positionsWereTrained,
    name: "rotary positions beyond the scaled length",
    fails: {
      spec: llama({ maxPositions: 2048, ropeScaling: { type: "linear", factor: 2.5, parameters: {} } }),
      build: { max_seq_len: 5121 },
    },
    says: ["BLD012", "larger than the 5120 positions", "2048 × rope_scaling factor"],
    passes: {
      spec: llama({ maxPositions: 2048, ropeScaling: { type: "linear", factor: 2.5, parameters: {} } }),
      build: { max_seq_len: 5120 },
    },
  },
  {
    rule: lengths.promptHoldsImage,
    name: "max_input_len of an image and no text",
    fails: { build: { max_input_len: 576 } },
    says: ["BLD011", "max_input_len 576 does not hold an image of 576", "--max_input_len 608 or more"],
    passes: { build: { max_input_len: 577 } },
  },
  {
    rule: lengths.promptHoldsText,
    name: "max_input_len with a few tokens of text",
    fails: { build: { max_input_len: 607 } },
    says: ["BLD013", "leaves 31 tokens for text beside 576", "--max_input_len 608 or more"],
    passes: { build: { max_input_len: 608 } },
  },
  {
    rule: lengths.answerHasRoom,
    name: "no room for an answer",
    fails: { build: { max_input_len: 989, max_seq_len: 989 } },
    says: ["BLD018", "both 989", "single token"],
    passes: { build: { max_input_len: 989, max_seq_len: 990 } },
  },
  {
    rule: lengths.stepHoldsPrompt,
    name: "max_num_tokens below a prompt",
    fails: { build: { max_num_tokens: 1023 } },
    says: ["BLD016", "max_num_tokens 1023 is smaller than max_input_len 1024", "--max_num_tokens 1024"],
    passes: { build: { max_num_tokens: 1024 } },
  },
  {
    rule: lengths.stepHoldsPrompt,
    name: "max_num_tokens below a prompt that could come in pieces",
    fails: { build: { max_num_tokens: 64, use_paged_context_fmha: false } },
    says: ["BLD016", "or --use_paged_context_fmha, which runs it in pieces"],
    passes: { build: { max_num_tokens: 64, use_paged_context_fmha: true } },
  },
  {
    rule: pagedContext.pagedStepHoldsBatch,
    name: "max_num_tokens below a batch of beams",
    fails: { build: { use_paged_context_fmha: true, max_num_tokens: 37, max_batch_size: 19, max_beam_width: 2 } },
    says: ["BLD055", "max_batch_size 19 × max_beam_width 2 = 38", "--max_num_tokens 38"],
    passes: { build: { use_paged_context_fmha: true, max_num_tokens: 38, max_batch_size: 19, max_beam_width: 2 } },
  },
  {
    rule: pagedContext.pagedContextIsDecoders,
    name: "prompts in pieces for an encoder",
    fails: { spec: pair({}), build: { use_paged_context_fmha: true } },
    says: ["BLD056", "an encoder-decoder", "--use_paged_context_fmha disable"],
    passes: { spec: pair({}) },
  },
  {
    rule: pagedContext.pagedContextHoldsSpan,
    name: "prompts in pieces shorter than an image whose tokens see each other",
    fails: {
      spec: { ...llava(), language: { ...llava().language, visualSpans: "image" } },
      build: { use_paged_context_fmha: true, max_num_tokens: 575, max_batch_size: 1, max_multimodal_len: 576 },
    },
    says: ["BLD059", "pieces have 575 tokens, fewer than the 576 of an image", "--max_num_tokens 576 or more"],
    passes: {
      spec: { ...llava(), language: { ...llava().language, visualSpans: "image" } },
      build: { use_paged_context_fmha: true, max_num_tokens: 576, max_batch_size: 1, max_multimodal_len: 576 },
    },
  },
  {
    rule: pagedContext.pagedContextHoldsSpan,
    name: "prompts in pieces where all of a prompt sees all of it",
    fails: {
      spec: llama({ visualSpans: "prompt" }),
      build: { use_paged_context_fmha: true, max_num_tokens: 2 * 988, max_batch_size: 2, max_input_len: 989 },
    },
    says: ["BLD059", "pieces have 988 tokens, fewer than the 989 that one may have", "--max_num_tokens 1978 or more"],
    passes: {
      spec: llama({ visualSpans: "prompt" }),
      build: { use_paged_context_fmha: true, max_num_tokens: 2 * 989, max_batch_size: 2, max_input_len: 989 },
    },
  },
  {
    rule: pagedContext.pagedContextKeepsAngles,
    name: "prompts in pieces with angles for their length",
    fails: {
      spec: llama({ maxPositions: 989, ropeScaling: { type: "dynamic", factor: 2, parameters: {} } }),
      build: { use_paged_context_fmha: true, max_input_len: 990, max_seq_len: 1024 },
    },
    says: ["BLD057", "rope type dynamic and max_input_len 990, beyond the 989 tokens", "--max_input_len 989 or less"],
    passes: {
      spec: llama({ maxPositions: 989, ropeScaling: { type: "dynamic", factor: 2, parameters: {} } }),
      build: { use_paged_context_fmha: true, max_input_len: 989, max_seq_len: 1024 },
    },
  },
  {
    rule: pagedContext.pagedContextKeepsAngles,
    name: "prompts in pieces with longrope's two tables",
    fails: {
      spec: llama({
        ropeScaling: { type: "longrope", factor: 32, parameters: { original_max_position_embeddings: 512 } },
      }),
      build: { use_paged_context_fmha: true, max_input_len: 513 },
    },
    says: ["BLD057", "rope type longrope", "beyond the 512 tokens"],
    passes: {
      spec: llama({ ropeScaling: { type: "linear", factor: 2, parameters: {} } }),
      build: { use_paged_context_fmha: true, max_input_len: 513 },
    },
  },
  {
    rule: pagedContext.optInputWithinPiece,
    name: "opt_input_len above a piece",
    fails: { build: { use_paged_context_fmha: true, max_num_tokens: 99, max_batch_size: 3, opt_input_len: 34 } },
    says: ["BLD017", "pieces of 33 tokens", "--opt_input_len 33 or less, or --max_num_tokens 102 or more"],
    passes: { build: { use_paged_context_fmha: true, max_num_tokens: 99, max_batch_size: 3, opt_input_len: 33 } },
  },
  {
    rule: lengths.optTokensWithinStep,
    name: "opt_num_tokens above max_num_tokens",
    fails: { build: { opt_num_tokens: 1025, max_num_tokens: 1024 } },
    says: ["BLD017", "opt_num_tokens 1025 is larger than max_num_tokens 1024"],
    passes: { build: { opt_num_tokens: 1024, max_num_tokens: 1024 } },
  },
  {
    rule: lengths.optBatchWithinBatch,
    name: "opt_batch_size above max_batch_size",
    fails: { build: { opt_batch_size: 2 } },
    says: ["BLD017", "--opt_batch_size 1 or less, or --max_batch_size 2 or more"],
    passes: { build: { opt_batch_size: 1 } },
  },
  {
    rule: lengths.optInputWithinInput,
    name: "opt_input_len above max_input_len",
    fails: { build: { opt_input_len: 1025 } },
    says: ["BLD017", "opt_input_len 1025 is larger than max_input_len 1024"],
    passes: { build: { opt_input_len: 1024 } },
  },
  {
    rule: lengths.optSequenceWithinSequence,
    name: "opt_seq_len above max_seq_len",
    fails: { build: { opt_seq_len: 2049 } },
    says: ["BLD017", "opt_seq_len 2049 is larger than max_seq_len 2048"],
    passes: { build: { opt_seq_len: 2048 } },
  },
  {
    rule: lengths.oneWayToChooseOpt,
    name: "multiple_profiles with opt_num_tokens",
    fails: { build: { multiple_profiles: true, opt_num_tokens: 8 } },
    says: ["BLD019", "leave out --opt_num_tokens"],
    passes: { build: { multiple_profiles: true } },
  },
  {
    rule: promptTableHoldsBatch,
    name: "a prompt table for one image and eight sequences",
    fails: { build: { max_batch_size: 8 } },
    says: ["BLD014", "8 × 576 = 4608 rows", "--max_multimodal_len 4608, or --max_batch_size 1"],
    passes: { build: { max_batch_size: 8, max_multimodal_len: 4608 } },
  },
  {
    rule: promptTableIsUsed,
    name: "more rows than a batch fills",
    fails: { build: { max_multimodal_len: 577 } },
    says: ["BLD015", "fills 576 rows; the other 1 reserve 8.00 KiB", "--max_multimodal_len 576"],
    passes: { build: { max_multimodal_len: 576 } },
  },
  {
    rule: promptTableIsUsed,
    name: "rows of half an image more than VILA's two pictures a prompt",
    fails: { spec: { ...llava(), modelType: "vila" }, build: { max_multimodal_len: 1440 } },
    says: ["BLD015", "serve only prompts with several images"],
    passes: { spec: { ...llava(), modelType: "vila" }, build: { max_multimodal_len: 1152 } },
  },
  {
    rule: promptTableIsUsed,
    name: "more rows than prompts of tiled images can have",
    fails: { spec: TILED, build: { max_input_len: 1024, max_multimodal_len: 1025 } },
    says: ["BLD015", "a batch whose prompts are images alone fills 1024 rows", "serve no prompt"],
    passes: { spec: TILED, build: { max_input_len: 1024, max_multimodal_len: 1024 } },
  },
  {
    rule: promptTableHoldsBatch,
    name: "fewer rows than the smallest images of a batch have",
    fails: { spec: TILED, build: { max_batch_size: 3, max_multimodal_len: 959 } },
    says: ["BLD014", "at least 320 visual features", "--max_multimodal_len 960, or --max_batch_size 2"],
    passes: { spec: TILED, build: { max_batch_size: 3, max_multimodal_len: 960 } },
  },
  {
    rule: lengths.promptHoldsImage,
    name: "a prompt as long as the smallest image",
    fails: { spec: TILED, build: { max_input_len: 332 } },
    says: ["BLD011", "the smallest image, 332 tokens,", "--max_input_len 364 or more; 1159 for every image"],
    passes: { spec: TILED, build: { max_input_len: 333 } },
  },
  {
    rule: everyImageFits,
    name: "a prompt shorter than the largest image and text",
    fails: { spec: TILED, build: { max_input_len: 1158, max_multimodal_len: 1088 } },
    says: ["BLD090", "1:1 none, 4:3 of any size", "--max_input_len 1159 for every image"],
    passes: { spec: TILED, build: { max_input_len: 1159, max_multimodal_len: 1088 } },
  },
  {
    rule: everyImageFits,
    name: "fewer rows than the largest images of a batch have",
    fails: { spec: TILED, build: { max_input_len: 1159, max_batch_size: 3, max_multimodal_len: 3263 } },
    says: ["BLD090", "a full batch of 3 takes 1087 of each", "--max_multimodal_len 3264 for every image"],
    passes: { spec: TILED, build: { max_input_len: 1159, max_batch_size: 3, max_multimodal_len: 3264 } },
  },
  {
    rule: parallel.headsSplitEvenly,
    name: "heads that tp_size does not divide",
    fails: { spec: llama({ heads: 6 }), checkpoint: { tpSize: 4 } },
    says: ["BLD020", "tp_size 4 does not divide 6", "one of 1, 2, 3, 6"],
    passes: { spec: llama({ heads: 6 }), checkpoint: { tpSize: 3 } },
  },
  {
    rule: parallel.kvHeadsSplitEvenly,
    name: "key/value heads that tp_size neither divides nor repeats",
    fails: { spec: llama({ heads: 24, kvHeads: 8 }), checkpoint: { tpSize: 3 } },
    says: ["BLD021", "tp_size 3 does not fit 8 key/value heads", "one of 1, 2, 4, 8, 24"],
    passes: { spec: llama({ heads: 32, kvHeads: 8 }), checkpoint: { tpSize: 16 } },
  },
  {
    rule: parallel.layersSplitEvenly,
    name: "layers that pp_size does not divide",
    fails: { spec: llama({ layers: 19 }), checkpoint: { ppSize: 2 } },
    says: ["BLD022", "pp_size 2 does not divide 19 layers", "--pp_size one of 1, 19"],
    passes: { spec: llama({ layers: 19 }), checkpoint: { ppSize: 19 } },
  },
  {
    rule: parallel.worldIsProduct,
    name: "a world_size that is no product",
    fails: { checkpoint: { worldSize: 3, tpSize: 2, ppSize: 2 } },
    says: ["BLD023", "world_size 3 is not tp_size 2 × pp_size 2", "to 4"],
    passes: { checkpoint: { worldSize: 4, tpSize: 2, ppSize: 2 } },
  },
  {
    rule: parallel.mlpSplitsEvenly,
    name: "an MLP that tp_size does not divide",
    fails: { spec: llama({ intermediateSize: 989 }), checkpoint: { tpSize: 2 } },
    says: ["BLD024", "intermediate_size 989", "one of 1, 23, 43"],
    passes: { spec: llama({ intermediateSize: 990 }), checkpoint: { tpSize: 2 } },
  },
  {
    rule: parallel.embeddingSplitsEvenly,
    name: "columns of a parallel embedding that cannot be dealt out",
    fails: {
      spec: llama({ hiddenSize: 4095 }),
      checkpoint: { tpSize: 2, useParallelEmbedding: true, embeddingShardingDim: 1 },
    },
    says: ["BLD025", "hidden_size 4095", "--embedding_sharding_dim 0"],
    passes: { spec: llama({ vocabSize: 32001 }), checkpoint: { tpSize: 2, useParallelEmbedding: true } },
  },
  {
    rule: parallel.ranksHaveCollectives,
    name: "tensor parallelism for a TensorRT without collectives",
    fails: { checkpoint: { tpSize: 2 }, target: { hasDistCollective: false, parserVersion: "10.15.1" } },
    says: ["BLD054", "tp_size 2 with TensorRT 10.15.1", "--pp_size"],
    passes: { checkpoint: { ppSize: 2 }, target: { hasDistCollective: false, parserVersion: "10.15.1" } },
  },
  {
    rule: parallel.ranksHaveCollectives,
    name: "the same, which a library's AllReduce serves",
    fails: {
      build: { backend: "tensorrt" },
      checkpoint: { tpSize: 2 },
      target: { hasDistCollective: false, parserVersion: "10.2.0" },
    },
    says: ["BLD054", "--plugins LIBRARY"],
    passes: {
      build: { backend: "tensorrt" },
      checkpoint: { tpSize: 2 },
      target: { hasDistCollective: false, hasAllReducePlugin: true, parserVersion: "10.2.0" },
    },
  },
  {
    rule: parallel.sharedTableIsWhole,
    name: "one table shared by split ranks",
    fails: { checkpoint: { tpSize: 2, shareEmbeddingTable: true } },
    says: ["BLD025", "share_embedding_table with tp_size 2"],
    passes: { checkpoint: { tpSize: 2, shareEmbeddingTable: true, useParallelEmbedding: true } },
  },
  {
    rule: parallel.tensorParallelismIsCheckpoints,
    name: "another tp_size than the checkpoint's",
    fails: { build: { tp_size: 2 } },
    says: ["BLD026", "tp_size 2 is asked for and the checkpoint is split for 1"],
    passes: { build: { tp_size: 1 } },
  },
  {
    rule: parallel.pipelineIsCheckpoints,
    name: "another pp_size than the checkpoint's",
    fails: { build: { pp_size: 2 } },
    says: ["BLD026", "pp_size 2", "convert again with --pp_size 2"],
    passes: { build: { pp_size: 1 } },
  },
  {
    rule: parallel.everyRankIsThere,
    name: "a rank file that is missing",
    fails: { checkpoint: { worldSize: 2, tpSize: 2, ranks: 1 } },
    says: ["BLD027", "1 rank files are there and the mapping needs 2", "ckpt/rank{0…1}.safetensors"],
    passes: { checkpoint: { worldSize: 2, tpSize: 2, ranks: 2 } },
  },
  {
    rule: parallel.ranksShareProcess,
    name: "several ranks on ONNX Runtime",
    fails: { checkpoint: { worldSize: 2, tpSize: 2, ranks: 2 } },
    says: ["BLD028", "runs all 2 ranks in one process", "--backend tensorrt"],
    passes: { checkpoint: { worldSize: 2, tpSize: 2, ranks: 2 }, build: { backend: "tensorrt" } },
  },
  {
    rule: plugins.attentionPluginHasModelDtype,
    name: "a float16 attention plugin in a bfloat16 model",
    fails: { checkpoint: { dtype: "bfloat16" }, build: { gpt_attention_plugin: "float16" } },
    says: ["BLD030", "gpt_attention_plugin float16 is not the model's dtype bfloat16", "auto (or bfloat16)"],
    passes: { checkpoint: { dtype: "bfloat16" }, build: { gpt_attention_plugin: "bfloat16" } },
  },
  {
    rule: plugins.gemmPluginHasModelDtype,
    name: "a bfloat16 gemm plugin in a float16 model",
    fails: { build: { gemm_plugin: "bfloat16" } },
    says: ["BLD030", "gemm_plugin bfloat16"],
    passes: { build: { gemm_plugin: "auto" } },
  },
  {
    rule: plugins.gemmPluginHasModelDtype,
    name: "a gemm plugin for FP8 weights that are plain",
    fails: { build: { gemm_plugin: "fp8" } },
    says: ["BLD030", "gemm_plugin fp8 with plain weights", "--qformat fp8"],
    passes: { checkpoint: { quantAlgo: "FP8" }, build: { gemm_plugin: "fp8" } },
  },
  {
    rule: plugins.encoderPluginHasModelDtype,
    name: "a float16 encoder attention in a bfloat16 model",
    fails: { checkpoint: { dtype: "bfloat16" }, build: { bert_attention_plugin: "float16" } },
    says: ["BLD030", "bert_attention_plugin float16"],
    passes: { build: { bert_attention_plugin: "float16" } },
  },
  {
    rule: plugins.smoothQuantPluginHasModelDtype,
    name: "a bfloat16 SmoothQuant product in a float16 model",
    fails: { build: { smooth_quant_gemm_plugin: "bfloat16" } },
    says: ["BLD030", "smooth_quant_gemm_plugin bfloat16"],
    passes: { build: { smooth_quant_gemm_plugin: "auto" } },
  },
  {
    rule: plugins.weightOnlyPluginHasModelDtype,
    name: "a bfloat16 plugin for codes in a float16 model",
    fails: { build: { weight_only_quant_matmul_plugin: "bfloat16" } },
    says: ["BLD030", "weight_only_quant_matmul_plugin bfloat16"],
    passes: { build: { weight_only_quant_matmul_plugin: "float16" } },
  },
  {
    rule: plugins.normPluginHasModelDtype,
    name: "a bfloat16 norm in a float16 model",
    fails: { build: { rmsnorm_plugin: "bfloat16" } },
    says: ["BLD030", "rmsnorm_plugin bfloat16"],
    passes: { build: { rmsnorm_plugin: "disable" } },
  },
  {
    rule: plugins.layerNormPluginHasModelDtype,
    name: "a bfloat16 layer norm in a float16 model",
    fails: { build: { layernorm_plugin: "bfloat16" } },
    says: ["BLD030", "layernorm_plugin bfloat16"],
    passes: { build: { layernorm_plugin: "float16" } },
  },
  {
    rule: plugins.lookupPluginHasModelDtype,
    name: "a bfloat16 look-up in a float16 model",
    fails: { build: { lookup_plugin: "bfloat16" } },
    says: ["BLD030", "lookup_plugin bfloat16"],
    passes: { build: { lookup_plugin: "auto" } },
  },
  {
    rule: plugins.pagedCacheHasPlugin,
    name: "a paged cache without the attention plugin",
    fails: { build: { kv_cache_type: "paged", gpt_attention_plugin: "disable" } },
    says: ["BLD031", "--gpt_attention_plugin auto, or --kv_cache_type continuous"],
    passes: { build: { kv_cache_type: "paged" } },
  },
  {
    rule: plugins.cacheTypeIsBuilt,
    name: "a paged cache of an encoder-decoder",
    fails: { spec: pair(), build: { kv_cache_type: "paged" } },
    says: ["BLD032", "--kv_cache_type continuous, or static"],
    passes: { build: { kv_cache_type: "paged" } },
  },
  {
    rule: plugins.blockSizeIsPowerOfTwo,
    name: "a block of 48 tokens",
    fails: { build: { tokens_per_block: 49 } },
    says: ["BLD033", "tokens_per_block 49 is not one of 8, 16, 32, 64, 128", "--tokens_per_block 64"],
    passes: { build: { tokens_per_block: 128 } },
  },
  {
    rule: plugins.pagedContextReadsCache,
    name: "paged context attention over INT8",
    fails: { build: { use_paged_context_fmha: true }, checkpoint: { kvCacheQuantAlgo: "INT8" } },
    says: ["BLD034", "with a INT8 KV cache", "no kernel that reads INT8"],
    passes: { build: { use_paged_context_fmha: true }, checkpoint: { kvCacheQuantAlgo: "FP8", quantAlgo: "FP8" } },
  },
  {
    rule: plugins.pagedContextReadsCache,
    name: "paged context attention over FP8 without FP8 weights",
    fails: { build: { use_paged_context_fmha: true }, checkpoint: { kvCacheQuantAlgo: "FP8" } },
    says: ["BLD034", "weights that are not FP8"],
    passes: { checkpoint: { kvCacheQuantAlgo: "FP8" } },
  },
  {
    rule: plugins.fusedMlpIsPlain,
    name: "a fused MLP of INT4 weights",
    fails: { build: { use_fused_mlp: true }, checkpoint: { quantAlgo: "W4A16_AWQ" } },
    says: ["BLD035", "use_fused_mlp with quant_algo W4A16_AWQ"],
    passes: { build: { use_fused_mlp: true }, checkpoint: { quantAlgo: "FP8" } },
  },
  {
    rule: quantization.staticCacheIsFloat,
    name: "a static INT8 cache in TensorRT",
    fails: {
      build: { kv_cache_type: "static" },
      checkpoint: { kvCacheQuantAlgo: "INT8" },
      target: { backend: "tensorrt_rtx" },
    },
    says: ["BLD062", "kv_cache_type static", "--kv_cache_type continuous"],
    passes: { build: { kv_cache_type: "static" }, checkpoint: { kvCacheQuantAlgo: "INT8" } },
  },
  {
    rule: quantization.runtimeHasFp8,
    name: "an FP8 cache in ONNX Runtime",
    fails: { checkpoint: { kvCacheQuantAlgo: "FP8" }, target: { backend: "onnxruntime" } },
    says: ["BLD040", "FP8 KV cache", "--int8_kv_cache"],
    passes: { checkpoint: { kvCacheQuantAlgo: "INT8" }, target: { backend: "onnxruntime" } },
  },
  {
    rule: quantization.layoutIsPlain,
    name: "weights in the order of TensorRT-LLM's kernels",
    fails: { checkpoint: { quantAlgo: "W8A16", weightLayout: "sm80" } },
    says: ["BLD060", "weight_layout is sm80", "ckpt/mmtrt.json"],
    passes: { checkpoint: { quantAlgo: "W8A16" } },
  },
  {
    rule: quantization.targetsHaveCodes,
    name: "INT4 weights on SM 75",
    fails: { checkpoint: { quantAlgo: "W4A16" }, target: { backend: "tensorrt_rtx", sms: [75, 86] } },
    says: ["BLD061", "SM 75 has no kernels for W4A16", "--compute_capabilities 86"],
    passes: { checkpoint: { quantAlgo: "W4A16" }, target: { backend: "tensorrt", sms: [75] } },
  },
  {
    rule: quantization.targetsHaveCodes,
    name: "FP8 before SM 89",
    fails: { checkpoint: { quantAlgo: "FP8" }, target: { backend: "tensorrt", sms: [80] } },
    says: ["BLD061", "SM 80 has no kernels for FP8", "convert without quantization"],
    passes: { checkpoint: { quantAlgo: "FP8" }, target: { backend: "tensorrt", sms: [89, 120] } },
  },
  {
    rule: logitsKeepBits,
    name: "float16 logits of a float32 model",
    fails: { build: { logits_dtype: "float16" }, target: { computeDtype: "float32" } },
    says: ["BLD041", "computed in float32", "--logits_dtype float32"],
    passes: { build: { logits_dtype: "float16" }, target: { computeDtype: "float16" } },
  },
  {
    rule: computeDtypeCasts,
    name: "float16 of a float32 checkpoint",
    fails: { build: { compute_dtype: "float16" }, checkpoint: { dtype: "float32" } },
    says: ["BLD070", "65504", "convert with --dtype float16"],
    passes: { build: { compute_dtype: "float32" }, checkpoint: { dtype: "float16" } },
  },
  {
    rule: computeDtypeCasts,
    name: "bfloat16 where weights cannot be rounded",
    fails: { build: { compute_dtype: "bfloat16", backend: "onnxruntime" }, checkpoint: { dtype: "float32" } },
    says: ["BLD070", "no bfloat16 kernels", "convert with --dtype bfloat16"],
    passes: { build: { compute_dtype: "bfloat16", backend: "tensorrt" }, checkpoint: { dtype: "float32" } },
  },
  {
    rule: computeDtypeCasts,
    name: "another dtype for quantized weights",
    fails: {
      build: { compute_dtype: "float32" },
      checkpoint: { dtype: "float16", quantAlgo: "W8A16" },
    },
    says: ["BLD070", "W8A16", "scales"],
    passes: { build: { compute_dtype: "float16" }, checkpoint: { dtype: "float16", quantAlgo: "W8A16" } },
  },
  {
    rule: bfloat16IsWidened,
    name: "bfloat16 on ONNX Runtime",
    fails: { checkpoint: { dtype: "bfloat16" } },
    says: ["BLD043", "computed as float32"],
    passes: { checkpoint: { dtype: "bfloat16" }, build: { backend: "tensorrt_rtx" } },
  },
  {
    rule: beamFitsVocabulary,
    name: "more beams than half the vocabulary",
    fails: { spec: llama({ vocabSize: 19 }), build: { max_beam_width: 10 } },
    says: ["BLD050", "needs 20 candidates and the vocabulary has 19", "--max_beam_width 9"],
    passes: { spec: llama({ vocabSize: 19 }), build: { max_beam_width: 9 } },
  },
  {
    rule: tensorrt.versionIsARelease,
    name: "a version of TensorRT-RTX",
    fails: { target: { tensorrtVersion: "1.7.1" } },
    says: ["BLD048", "tensorrt_version 1.7.1 is not a release", "--tensorrt_version 10.13"],
    passes: { target: { tensorrtVersion: "10.0" } },
  },
  {
    rule: tensorrt.versionIsARelease,
    name: "a version of words",
    fails: { target: { tensorrtVersion: "newest" } },
    says: ["BLD048", "tensorrt_version newest"],
    passes: { target: { tensorrtVersion: "11.1.2.3" } },
  },
  {
    rule: tensorrt.staticCacheHasOperator,
    name: "a static cache for a parser without TensorScatter",
    fails: { build: { kv_cache_type: "static" }, target: { hasTensorScatter: false, parserVersion: "10.14.1" } },
    says: ["BLD044", "kv_cache_type static with TensorRT 10.14.1", "--kv_cache_type continuous"],
    passes: { build: { kv_cache_type: "continuous" }, target: { hasTensorScatter: false, parserVersion: "10.14.1" } },
  },
  {
    rule: tensorrt.targetsHaveDtype,
    name: "bfloat16 for a Turing GPU among others",
    fails: { target: { computeDtype: "bfloat16", sms: [75, 86], smsWithoutDtype: [75] } },
    says: ["BLD045", "SM 75 does not compute in the model's bfloat16", "--compute_capabilities 86, or convert"],
    passes: { target: { computeDtype: "bfloat16", sms: [86], smsWithoutDtype: [] } },
  },
  {
    rule: tensorrt.targetsHaveDtype,
    name: "bfloat16 on the machine's own Turing GPU",
    fails: { target: { computeDtype: "bfloat16", sms: [], smsWithoutDtype: [75] } },
    says: ["BLD045", "config.json: dtype", "convert with --dtype float16"],
    passes: { target: { computeDtype: "bfloat16", sms: [] } },
  },
  {
    rule: tensorrt.refitHasGpu,
    name: "refit in TensorRT-RTX without a GPU",
    fails: { target: { backend: "tensorrt_rtx", gpus: 0, needsRefit: ["refit"] } },
    says: ["BLD046", "refit with TensorRT-RTX on a machine without a GPU", "leave --refit out"],
    passes: { target: { backend: "tensorrt_rtx", gpus: 1, needsRefit: ["refit"] } },
  },
  {
    rule: tensorrt.refitHasOneTarget,
    name: "an engine without weights for two compute capabilities",
    fails: { target: { backend: "tensorrt_rtx", sms: [86, 120], needsRefit: ["strip_plan"] } },
    says: ["BLD047", "strip_plan with 2 compute capabilities: 86, 120", "--compute_capabilities 86"],
    passes: { target: { backend: "tensorrt_rtx", sms: [120], needsRefit: ["strip_plan"] } },
  },
  {
    rule: tensorrt.flagsHaveTaker,
    name: "flags for trtexec with ONNX Runtime",
    fails: { target: { backend: "onnxruntime", trtexecFlags: ["--noTF32"] } },
    says: ["BLD049", "-- --noTF32 with --backend onnxruntime"],
    passes: { target: { backend: "tensorrt", trtexecFlags: ["--noTF32"] } },
  },
  {
    rule: tensorrt.optionsHaveTaker,
    name: "TensorRT's options with ONNX Runtime",
    fails: { target: { backend: "onnxruntime" }, given: ["refit", "timing_cache"] },
    says: ["BLD051", "timing_cache, refit have no effect with backend onnxruntime"],
    passes: { target: { backend: "onnxruntime" }, given: ["tensorrt_version"] },
  },
];

describe("build rules", () => {
  it.each(CASES)("refuse $name, with the right value", ({ rule, fails, says }) => {
    const problem = rule(ruleContext(fails));
    expect(problem).toBeDefined();
    const text = problem ? formatProblem(problem) : "";
    for (const part of says) expect(text).toContain(part);
    expect(text).toMatch(/\n {2}at {3}\S.*\n {2}why {2}\S.*\n {2}fix {2}\S/);
  });

  it.each(CASES)("accept what is just right instead of $name", ({ rule, passes }) => {
    expect(rule(ruleContext(passes))).toBeUndefined();
  });

  it("have a case each", () => {
    // visual-batch.test.ts has those of packed patches.
    const tested = new Set([...CASES.map(({ rule }) => rule), visualBatchHoldsImage, visualBatchHoldsPrompt]);
    expect([...RULES, ...ADVICE].filter(rule => !tested.has(rule))).toEqual([]);
  });

  it("print the prompt table's problem as DESIGN shows it", () => {
    const problem = promptTableHoldsBatch(ruleContext({ build: { max_batch_size: 8 } }));
    expect(problem && formatProblem(problem)).toBe(
      [
        "error[BLD014]: max_multimodal_len 576 is too small for max_batch_size 8",
        "  at   --max_multimodal_len (command line)",
        "  why  every image of the batch puts 576 visual features into the prompt table: 8 × 576 = 4608 rows",
        "  fix  --max_multimodal_len 4608, or --max_batch_size 1",
      ].join("\n"),
    );
  });

  it("offer no batch size when the prompt table holds no image at all", () => {
    const problem = promptTableHoldsBatch(ruleContext({ build: { max_multimodal_len: 575 } }));
    expect(problem?.fix).toBe("--max_multimodal_len 576");
  });

  it("leave a model without images alone", () => {
    expect(checkRules(ruleContext({ spec: llama(), build: { max_multimodal_len: 0 } }))).toEqual({
      problems: [],
      warnings: [],
    });
  });

  it("do not complain that a default fills the positions of a short model", () => {
    const build = { max_input_len: 989, max_seq_len: 989 };
    expect(lengths.answerHasRoom(ruleContext({ build, given: ["max_input_len"] }))).toBeUndefined();
  });

  it("report everything at once, problems and advice apart", () => {
    const context = ruleContext({
      spec: llava({ maxPositions: 1024 }),
      build: { max_batch_size: 2, max_input_len: 3000, tokens_per_block: 3 },
    });
    const { problems, warnings } = checkRules(context);
    expect(problems.map(p => p.code).sort()).toEqual(["BLD010", "BLD014", "BLD033"]);
    expect(warnings.map(p => p.code)).toEqual(["BLD012"]);
  });

  it("hold for LLaVA-1.5 as the README builds it", () => {
    expect(checkRules(ruleContext({}))).toEqual({ problems: [], warnings: [] });
  });
});

describe("divisors", () => {
  it.each([
    [1, [1]],
    [19, [1, 19]],
    [36, [1, 2, 3, 4, 6, 9, 12, 18, 36]],
    [989, [1, 23, 43, 989]],
  ])("of %i are all of them, ascending", (n, expected) => {
    expect(divisors(n)).toEqual(expected);
  });
});

describe("showBytes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KiB"],
    [10.5 * 1024 ** 2, "10.5 MiB"],
    [5 * 1024 ** 3, "5.00 GiB"],
  ])("writes %i for people", (bytes, text) => {
    expect(showBytes(bytes)).toBe(text);
  });
});
