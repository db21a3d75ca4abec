import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec } from "../spec.ts";
import { readCommonKeys, readSize } from "./common-keys.ts";
import { type RopeSizes, type RopeSpec, readRope } from "./rope-spec.ts";

/**
 * A config class's own defaults. transformers leaves a nested config's keys out when they have these values (vicuna-7b
 * inside llava-1.5-7b has no hidden_size), so they apply there; at the top level the sizes are always written.
 */
export interface NestedDefaults {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** Without it: as many as heads. */
  readonly num_key_value_heads?: number;
  /** Without it: hidden_size / num_attention_heads. */
  readonly head_dim?: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
}

const NESTED_DEFAULTS: NestedDefaults = {
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-6,
};

/** What a kin of LLaMA's reads in its own way. */
export interface LlamaHabits {
  /** tie_word_embeddings where config.json does not say: transformers leaves out what is its class's default. */
  readonly tied?: boolean;
  readonly rope?: (c: ConfigReader, sizes: RopeSizes) => RopeSpec;
}

const ACTIVATIONS: Readonly<Record<string, DecoderSpec["activation"]>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  relu: "relu",
};

/** The keys of a LlamaConfig or one of its kin, at the top level or as `text_config` (`nested`). */
export function readLlamaDecoder(
  c: ConfigReader,
  nested: boolean,
  defaults = NESTED_DEFAULTS,
  { tied = false, rope = readRope }: LlamaHabits = {},
): DecoderSpec {
  const fallback = (key: keyof NestedDefaults): number | undefined => (nested ? defaults[key] : undefined);
  const size = (key: keyof NestedDefaults): number => readSize(c, key, fallback(key));
  const [hiddenSize, heads] = [size("hidden_size"), size("num_attention_heads")];
  readCommonKeys(c);
  c.ignore("pretraining_tp", "max_sequence_length", "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id");
  const bias = c.boolean("attention_bias", c.boolean("bias", false));
  const headDim = c.has("head_dim") ? readSize(c, "head_dim") : (fallback("head_dim") ?? hiddenSize / heads);
  const maxPositions = size("max_position_embeddings");
  const spec: DecoderSpec = {
    kind: "decoder",
    architecture: "LlamaForCausalLM",
    vocabSize: size("vocab_size"),
    hiddenSize,
    layers: size("num_hidden_layers"),
    heads,
    kvHeads: readSize(c, "num_key_value_heads", fallback("num_key_value_heads") ?? heads),
    headDim,
    intermediateSize: size("intermediate_size"),
    activation: readActivation(c),
    mlp: "gated",
    norm: "rms",
    normEps: c.number("rms_norm_eps", fallback("rms_norm_eps")),
    positions: "rope",
    maxPositions,
    ...rope(c, { headDim, maxPositions }),
    attentionBias: bias,
    outputBias: bias,
    mlpBias: c.boolean("mlp_bias", false),
    tiedEmbeddings: c.boolean("tie_word_embeddings", tied),
  };
  c.ignore("head_dim");
  checkSizes(c, spec);
  return spec;
}

/** `key` in transformers' words; absent, `fallback`. */
export function readActivation(c: ConfigReader, key = "hidden_act", fallback = "silu"): DecoderSpec["activation"] {
  return ACTIVATIONS[c.choice(key, Object.keys(ACTIVATIONS), fallback)] ?? "silu";
}

function checkSizes(c: ConfigReader, spec: DecoderSpec): void {
  const { heads, kvHeads, headDim, hiddenSize } = spec;
  if (!c.sound) return;
  if (!Number.isInteger(headDim)) {
    c.problem(
      "SPC006",
      "num_attention_heads",
      `is ${heads}, which does not divide hidden_size ${hiddenSize}`,
      "each head holds hidden_size / num_attention_heads channels",
      "give num_attention_heads as a divisor of hidden_size, or head_dim",
    );
  } else if (headDim % 2 !== 0) {
    c.problem(
      "SPC006",
      "head_dim",
      `is ${headDim}; expected an even number`,
      "rotary embedding turns channels in pairs",
      "give head_dim as it was trained",
    );
  }
  if (heads % kvHeads !== 0) {
    c.problem(
      "SPC006",
      "num_key_value_heads",
      `is ${kvHeads}, which does not divide num_attention_heads ${heads}`,
      "each key/value head serves the same number of query heads",
      "give num_key_value_heads as a divisor of num_attention_heads",
    );
  }
}
