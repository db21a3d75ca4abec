import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, EncoderDecoderSpec, ModelSpec } from "../spec.ts";
import { checkHeads, readSharedKeys, readSize, readTokenIds } from "./common-keys.ts";

/** BartConfig's and MBartConfig's defaults: transformers leaves keys with these values out of a nested config. */
const DEFAULTS = {
  vocab_size: 50_265,
  max_position_embeddings: 1024,
  d_model: 1024,
  encoder_layers: 12,
  encoder_ffn_dim: 4096,
  encoder_attention_heads: 16,
  decoder_layers: 12,
  decoder_ffn_dim: 4096,
  decoder_attention_heads: 16,
};

const FORCED_EOS = 2;

const ACTIVATIONS: Readonly<Record<string, DecoderSpec["activation"]>> = {
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  relu: "relu",
  silu: "silu",
};

/** Training, distillation, bookkeeping and fairseq's leftovers. */
const IGNORED = [
  "activation_dropout",
  "add_bias_logits",
  "classif_dropout",
  "classifier_dropout",
  "decoder_layerdrop",
  "dropout",
  "encoder_layerdrop",
  "gradient_checkpointing",
  "init_std",
  "num_hidden_layers",
  "output_past",
  "replacing_rate",
  "save_step",
  "student_decoder_layers",
  "student_encoder_layers",
  "bos_token_id",
  "eos_token_id",
  "pad_token_id",
];

/**
 * What a BartConfig or MBartConfig says: of both stacks, or (`alone`) of the decoder of another encoder's features, which
 * are `encoderSize` wide. BART norms after each sum; mBART before, and once more at the end.
 */
export function readBart(
  c: ConfigReader,
  family: "bart" | "mbart",
  alone?: { readonly encoderSize: number },
): Required<Pick<ModelSpec, "language" | "encoderDecoder">> {
  const isMbart = family === "mbart";
  const size = (key: keyof typeof DEFAULTS): number => readSize(c, key, alone && DEFAULTS[key]);
  readSharedKeys(c);
  readStructure(c, isMbart, alone !== undefined);
  c.ignore(...IGNORED);
  const hiddenSize = size("d_model");
  const [heads, encoderHeads] = [size("decoder_attention_heads"), size("encoder_attention_heads")];
  checkHeads(c, hiddenSize, heads, "decoder_attention_heads", "d_model");
  checkHeads(c, hiddenSize, encoderHeads, "encoder_attention_heads", "d_model");
  const tokens = (key: string): number | undefined => readTokenIds(c, key)[0];
  const [start, bos] = ["decoder_start_token_id", "forced_bos_token_id"].map(tokens);
  // BartConfig's and MBartConfig's default, for checkpoints older than the key; null forces nothing.
  const eos = c.raw("forced_eos_token_id") === undefined ? FORCED_EOS : tokens("forced_eos_token_id");
  // Before forced_bos_token_id there was a flag for the usual begin token.
  const begin = c.boolean("force_bos_token_to_be_generated", false) ? tokens("bos_token_id") : undefined;
  const forced = bos ?? begin;
  const encoder = {
    layers: size("encoder_layers"),
    heads: encoderHeads,
    headDim: hiddenSize / encoderHeads,
    intermediateSize: size("encoder_ffn_dim"),
  };
  const language: DecoderSpec = {
    kind: "decoder",
    architecture: isMbart ? "MBartForConditionalGeneration" : "BartForConditionalGeneration",
    vocabSize: size("vocab_size"),
    hiddenSize,
    layers: size("decoder_layers"),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    intermediateSize: size("decoder_ffn_dim"),
    activation: ACTIVATIONS[c.choice("activation_function", Object.keys(ACTIVATIONS), "gelu")] ?? "gelu",
    mlp: "plain",
    norm: "layer",
    normEps: 1e-5,
    postNorm: !isMbart,
    positions: "learned",
    maxPositions: size("max_position_embeddings"),
    ropeTheta: 0,
    attentionBias: true,
    outputBias: true,
    mlpBias: true,
    tiedEmbeddings: c.boolean("tie_word_embeddings", true),
  };
  const encoderDecoder: EncoderDecoderSpec = {
    ...(alone === undefined && { encoder }),
    encoderSize: alone?.encoderSize ?? hiddenSize,
    encoderHeads,
    embeddingScale: c.boolean("scale_embedding", false),
    embeddingNorm: true,
    finalNorm: isMbart,
    scaledAttention: true,
    scaledLogits: false,
    ...(start !== undefined && { decoderStartTokenId: start }),
    ...(forced !== undefined && { forcedBosTokenId: forced }),
    ...(eos !== undefined && { forcedEosTokenId: eos }),
  };
  return { language, encoderDecoder };
}

/** Switches of fairseq that old configs spell out; transformers' classes know one setting each. */
function readStructure(c: ConfigReader, isMbart: boolean, alone: boolean): void {
  const name = isMbart ? "mBART" : "BART";
  c.only("normalize_before", [isMbart], `${name}'s norms are ${isMbart ? "before" : "after"} each block`);
  c.only("add_final_layer_norm", [isMbart], `${name} has ${isMbart ? "a" : "no"} norm after the last layer`);
  c.only("normalize_embedding", [true], `${name} has a norm after the embeddings`);
  c.only("static_position_embeddings", [false], `${name}'s positions are learned`);
  c.only("extra_pos_embeddings", [2], "the position table starts two rows late");
  c.only("do_blenderbot_90_layernorm", [false], "the norms would be elsewhere");
  c.only("is_encoder_decoder", [!alone], alone ? "the encoder is another model" : `${name} has an encoder`);
  c.only("is_decoder", [alone], alone ? "it is the decoder of a pair" : `${name} has an encoder`);
  if (alone) c.only("add_cross_attention", [true], "the decoder has to see the encoder's features");
  else c.only("tie_word_embeddings", [true], `encoder, decoder and lm_head of a ${name} share one word table`);
}
