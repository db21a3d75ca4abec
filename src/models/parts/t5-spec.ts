import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, EncoderDecoderSpec, ModelSpec } from "../spec.ts";
import { conflict, readSharedKeys, readSize, readTokenIds } from "./common-keys.ts";

/** T5Config's defaults: transformers leaves keys with these values out of a nested config. */
const DEFAULTS = {
  vocab_size: 32_128,
  d_model: 512,
  d_kv: 64,
  d_ff: 2048,
  num_layers: 6,
  num_heads: 8,
  relative_attention_num_buckets: 32,
};

/** T5Config's: checkpoints from before transformers 4.17 (T5 v1.0, ByT5) do not name it at the top level either. */
const DEFAULT_DISTANCE = 128;

/** TensorRT-LLM's number for a model without a position table; numbers do not depend on it. */
const POSITIONS = 512;

/** A table of as many entries goes into the graph; published models have 128. */
const MAX_DISTANCE = 65_536;

const ACTIVATIONS: Readonly<Record<string, DecoderSpec["activation"]>> = {
  relu: "relu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  silu: "silu",
};

/** What a T5Config says of the two stacks, at the top level or as `text_config` (`nested`). */
export function readT5(c: ConfigReader, nested: boolean): Required<Pick<ModelSpec, "language" | "encoderDecoder">> {
  const size = (key: keyof typeof DEFAULTS): number => readSize(c, key, nested ? DEFAULTS[key] : undefined);
  readSharedKeys(c);
  c.only("is_encoder_decoder", [true], "T5 has an encoder and a decoder");
  c.only("is_decoder", [false], "T5 has an encoder and a decoder");
  c.ignore("dropout_rate", "classifier_dropout", "eos_token_id", "pad_token_id", "bos_token_id", "output_past");
  const [heads, headDim] = [size("num_heads"), size("d_kv")];
  const layers = size("num_layers");
  const tied = c.boolean("tie_word_embeddings", true);
  // transformers 5 writes tie_word_embeddings true always and the scaling under a key of its own.
  const savedBy5 = c.has("scale_decoder_outputs");
  const maxPositions = readSize(c, "n_positions", POSITIONS);
  const language: DecoderSpec = {
    kind: "decoder",
    architecture: "T5ForConditionalGeneration",
    vocabSize: size("vocab_size"),
    hiddenSize: size("d_model"),
    layers: readSize(c, "num_decoder_layers", layers),
    heads,
    kvHeads: heads,
    headDim,
    intermediateSize: size("d_ff"),
    ...readFeedForward(c),
    norm: "rms",
    normEps: c.number("layer_norm_epsilon", 1e-6),
    positions: "relative",
    maxPositions,
    ropeTheta: 0,
    attentionBias: false,
    outputBias: false,
    mlpBias: false,
    tiedEmbeddings: tied && !savedBy5,
  };
  const encoderDecoder: EncoderDecoderSpec = {
    encoder: { layers, heads, headDim, intermediateSize: language.intermediateSize },
    encoderSize: language.hiddenSize,
    encoderHeads: heads,
    relative: readBuckets(
      c,
      size("relative_attention_num_buckets"),
      readSize(c, "relative_attention_max_distance", DEFAULT_DISTANCE),
    ),
    embeddingScale: false,
    embeddingNorm: false,
    finalNorm: true,
    scaledAttention: false,
    scaledLogits: c.boolean("scale_decoder_outputs", tied),
    decoderStartTokenId: readTokenIds(c, "decoder_start_token_id")[0] ?? readTokenIds(c, "pad_token_id")[0] ?? 0,
  };
  return { language, encoderDecoder };
}

/** `feed_forward_proj` (relu, gated-gelu, …), of which transformers writes out the two halves as well. */
function readFeedForward(c: ConfigReader): Pick<DecoderSpec, "activation" | "mlp"> {
  const name = c.text("feed_forward_proj", "relu");
  const gated = name.startsWith("gated-");
  const act = name.slice(gated ? "gated-".length : 0);
  // T5 v1.1's gelu is the tanh form; transformers renames it so.
  const expected = name === "gated-gelu" ? "gelu_new" : act;
  const written = c.text("dense_act_fn", expected);
  // BLIP-2's FLAN-T5 was published with gated-gelu and the exact gelu, and transformers takes what is written here.
  const isExact = name === "gated-gelu" && written === "gelu";
  if (written !== expected && !isExact) conflict(c, "dense_act_fn", written, "feed_forward_proj", name);
  if (c.boolean("is_gated_act", gated) !== gated) conflict(c, "is_gated_act", !gated, "feed_forward_proj", name);
  const activation = ACTIVATIONS[isExact ? written : expected];
  if (activation === undefined)
    c.problem(
      "SPC004",
      "feed_forward_proj",
      `is ${JSON.stringify(name)}; supported: relu, gated-gelu, gated-silu and gelu`,
      "the activation decides what every layer computes",
      "convert a checkpoint with one of these",
    );
  return { activation: activation ?? "relu", mlp: gated ? "gated" : "plain" };
}

function readBuckets(
  c: ConfigReader,
  buckets: number,
  maxDistance: number,
): NonNullable<EncoderDecoderSpec["relative"]> {
  // Half of the encoder's buckets are for keys after the query, and half of those for single distances.
  const fits = buckets % 4 === 0 && maxDistance > buckets / 2 && maxDistance <= MAX_DISTANCE;
  if (c.sound && !fits)
    c.problem(
      "SPC006",
      "relative_attention_num_buckets",
      `is ${buckets} and relative_attention_max_distance ${maxDistance}; expected a multiple of 4, and a distance above half of it and at most ${MAX_DISTANCE}`,
      "a quarter of the buckets is for single distances each way, the others grow to the largest distance",
      "give both as they were trained",
    );
  return { buckets, maxDistance };
}
