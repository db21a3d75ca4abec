import type {
  CheckpointConfig,
  CheckpointLayout,
  DealLimits,
  NameRule,
  SourceTensor,
  WeightRule,
} from "../architecture.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec } from "../spec.ts";
import { briefQuantization, embeddingKeys, plainMapping, weightLayoutKey } from "./checkpoint-config.ts";
import { checkHeads, readCommonKeys, readSize } from "./common-keys.ts";
import type { LanguageFamily } from "./language.ts";
import { layerRules } from "./weight-rules.ts";

/** OPTConfig's defaults: transformers leaves keys with these values out of a nested config. */
const DEFAULTS = {
  vocab_size: 50_272,
  hidden_size: 768,
  num_hidden_layers: 12,
  ffn_dim: 3072,
  max_position_embeddings: 2048,
  num_attention_heads: 12,
};

const ACTIVATIONS: Readonly<Record<string, DecoderSpec["activation"]>> = {
  relu: "relu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
};

/** transformers keeps two rows before position 0, from fairseq's padding index. */
const POSITION_OFFSET = 2;

/** The keys of an OPTConfig, at the top level or as `text_config` (`nested`). */
function readOptDecoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const size = (key: keyof typeof DEFAULTS): number => readSize(c, key, nested ? DEFAULTS[key] : undefined);
  readCommonKeys(c);
  c.ignore("activation_dropout", "dropout", "init_std", "layerdrop", "bos_token_id", "eos_token_id", "pad_token_id");
  c.only("enable_bias", [true], "TensorRT-LLM's OPT has biases everywhere");
  c.only("layer_norm_elementwise_affine", [true], "TensorRT-LLM's OPT has norm weights everywhere");
  c.only("_remove_final_layer_norm", [false], "the norm after the last layer would be left out");
  const [hiddenSize, heads] = [size("hidden_size"), size("num_attention_heads")];
  const embeddingSize = readSize(c, "word_embed_proj_dim", hiddenSize);
  checkHeads(c, hiddenSize, heads);
  return {
    kind: "decoder",
    architecture: "OPTForCausalLM",
    vocabSize: size("vocab_size"),
    hiddenSize,
    ...(embeddingSize !== hiddenSize && { embeddingSize }),
    layers: size("num_hidden_layers"),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    intermediateSize: size("ffn_dim"),
    activation: ACTIVATIONS[c.choice("activation_function", Object.keys(ACTIVATIONS), "relu")] ?? "relu",
    mlp: "plain",
    norm: "layer",
    normEps: 1e-5,
    postNorm: !c.boolean("do_layer_norm_before", true),
    positions: "learned",
    maxPositions: size("max_position_embeddings"),
    ropeTheta: 0,
    attentionBias: true,
    outputBias: true,
    mlpBias: true,
    tiedEmbeddings: c.boolean("tie_word_embeddings", true),
  };
}

/** Published checkpoints without `model.` (facebook/opt-*, saved by the bare OPTModel). */
const NAMES: readonly NameRule[] = [{ stored: /^decoder\./, canonical: "model.decoder." }];

const DECODER = "model.decoder.";
const WORDS = `${DECODER}embed_tokens.weight`;

/** OPT's tensors in TensorRT-LLM's names; OPT-350m's narrow tables become full ones by its two projections. */
function optWeights(spec: DecoderSpec): WeightRule[] {
  const { hiddenSize: hidden, intermediateSize, vocabSize, maxPositions, embeddingSize } = spec;
  const layer = layerRules(`${DECODER}layers.{l}.`);
  const words: SourceTensor = { name: WORDS, shape: [vocabSize, embeddingSize ?? hidden] };
  const head = spec.tiedEmbeddings ? words : { ...words, name: "lm_head.weight" };
  const positions = { name: `${DECODER}embed_positions.weight`, shape: [maxPositions + POSITION_OFFSET, hidden] };
  const projected = (name: string, shape: SourceTensor["shape"], transposed: boolean): Partial<WeightRule> =>
    embeddingSize === undefined ? {} : { times: { matrix: { name: `${DECODER}${name}.weight`, shape }, transposed } };
  return [
    {
      to: "transformer.vocab_embedding.weight",
      from: [words],
      split: "embedding",
      stage: "first",
      ...projected("project_in", [hidden, embeddingSize ?? hidden], true),
    },
    {
      to: "transformer.position_embedding.weight",
      from: [positions],
      split: "embedding",
      stage: "first",
      skipRows: POSITION_OFFSET,
    },
    ...layer.qkv(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], [hidden, hidden, hidden], hidden),
    ...layer.linear("attention.dense", "self_attn.out_proj", "row", { out: hidden, in: hidden, bias: true }),
    ...layer.linear("mlp.fc", "fc1", "column", { out: intermediateSize, in: hidden, bias: true }),
    ...layer.linear("mlp.proj", "fc2", "row", { out: hidden, in: intermediateSize, bias: true }),
    ...layer.norm("input_layernorm", "self_attn_layer_norm", hidden),
    ...layer.norm("post_layernorm", "final_layer_norm", hidden),
    ...(spec.postNorm ? [] : finalNorm(hidden)),
    {
      to: "lm_head.weight",
      from: [head],
      split: "vocab",
      stage: "last",
      tied: spec.tiedEmbeddings,
      ...projected("project_out", [embeddingSize ?? hidden, hidden], false),
    },
  ];
}

function finalNorm(size: number): WeightRule[] {
  return ["weight", "bias"].map(part => ({
    to: `transformer.ln_f.${part}`,
    from: [{ name: `${DECODER}final_layer_norm.${part}`, shape: [size] }],
    split: "replicated",
    stage: "last",
  }));
}

function optLimits(spec: DecoderSpec): DealLimits {
  return {
    onePipelineStage: "TensorRT-LLM's OPT keeps all layers on one stage",
    ...(spec.embeddingSize !== undefined && {
      plainEmbedding:
        "word_embed_proj_dim differs from hidden_size: embedding and lm_head are products with two different projections",
    }),
  };
}

/** As NVIDIA's converter writes it by hand: no intermediate_size (4 · hidden there) and no norm_epsilon (1e-5). */
function optConfig(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    architecture: spec.architecture,
    dtype: layout.dtype,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    hidden_size: spec.hiddenSize,
    vocab_size: spec.vocabSize,
    position_embedding_type: "learned_absolute",
    max_position_embeddings: spec.maxPositions,
    hidden_act: spec.activation === "gelu_tanh" ? "gelu_new" : spec.activation,
    quantization: optQuantization(layout),
    mapping: plainMapping(layout),
    ...embeddingKeys(layout),
    do_layer_norm_before: spec.postNorm !== true,
    ...weightLayoutKey(layout),
  };
}

/** NVIDIA's converter knows no quantized cache of OPT, and names none. */
function optQuantization(layout: CheckpointLayout): CheckpointConfig["quantization"] {
  const { kv_cache_quant_algo: cache, ...rest } = briefQuantization(layout);
  return cache === null ? rest : { ...rest, kv_cache_quant_algo: cache };
}

export const OPT: LanguageFamily = {
  architecture: "OPTForCausalLM",
  modelType: "opt",
  read: readOptDecoder,
  base: "model.",
  names: NAMES,
  ignore: [],
  weights: optWeights,
  words: WORDS,
  config: optConfig,
  limits: optLimits,
};
