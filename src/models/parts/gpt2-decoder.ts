import type { CheckpointConfig, CheckpointLayout, NameRule, SourceTensor, WeightRule } from "../architecture.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec } from "../spec.ts";
import { briefQuantization, embeddingKeys, plainMapping, weightLayoutKey } from "./checkpoint-config.ts";
import { checkHeads, readCommonKeys, readSize } from "./common-keys.ts";
import type { LanguageFamily } from "./language.ts";
import { layerRules } from "./weight-rules.ts";

/** GPT2Config's defaults: transformers leaves keys with these values out of a nested config. */
const DEFAULTS = { vocab_size: 50_257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12 };

const ACTIVATIONS: Readonly<Record<string, DecoderSpec["activation"]>> = {
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu: "gelu",
  relu: "relu",
};

/** The keys of a GPT2Config, at the top level or as `text_config` (`nested`). */
function readGpt2Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const size = (key: keyof typeof DEFAULTS): number => readSize(c, key, nested ? DEFAULTS[key] : undefined);
  readCommonKeys(c);
  c.ignore("attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx", "bos_token_id", "eos_token_id", "pad_token_id");
  // gpt2-medium, -large and -xl have these from the first port: no special tokens were added, and nothing reads them.
  c.ignore("n_special", "predict_special_tokens", "output_past");
  c.ignore("summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj");
  c.only("scale_attn_weights", [true], "attention scores would not be divided by the square root of the head size");
  c.only("scale_attn_by_inverse_layer_idx", [false], "attention scores would be divided by the layer's number as well");
  c.only("reorder_and_upcast_attn", [false], "attention scores would be scaled before the product and in float32");
  const [hiddenSize, heads] = [size("n_embd"), size("n_head")];
  checkHeads(c, hiddenSize, heads, "n_head", "n_embd");
  return {
    kind: "decoder",
    architecture: "GPT2LMHeadModel",
    vocabSize: size("vocab_size"),
    hiddenSize,
    layers: size("n_layer"),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    intermediateSize: readSize(c, "n_inner", 4 * hiddenSize),
    activation: ACTIVATIONS[c.choice("activation_function", Object.keys(ACTIVATIONS), "gelu_new")] ?? "gelu_tanh",
    mlp: "plain",
    norm: "layer",
    normEps: c.number("layer_norm_epsilon", 1e-5),
    positions: "learned",
    maxPositions: size("n_positions"),
    ropeTheta: 0,
    attentionBias: true,
    outputBias: true,
    mlpBias: true,
    tiedEmbeddings: c.boolean("tie_word_embeddings", true),
  };
}

/** openai-community/gpt2 was saved by the bare GPT2Model, without `transformer.`. */
const NAMES: readonly NameRule[] = [{ stored: /^(wte|wpe|h|ln_f)\./, canonical: "transformer.$1." }];

/** Causal masks that transformers kept as buffers until 4.30. */
const IGNORED: readonly RegExp[] = [/^transformer\.h\.\d+\.attn\.(bias|masked_bias)$/];

const WORDS = "transformer.wte.weight";

/** GPT-2's tensors in TensorRT-LLM's names. Its linear layers are Conv1D, stored [in, out]. */
function gpt2Weights(spec: DecoderSpec): WeightRule[] {
  const { hiddenSize: hidden, intermediateSize, vocabSize, maxPositions } = spec;
  const layer = layerRules("transformer.h.{l}.");
  const words: SourceTensor = { name: WORDS, shape: [vocabSize, hidden] };
  const head = spec.tiedEmbeddings ? words : { ...words, name: "lm_head.weight" };
  const positions = { name: "transformer.wpe.weight", shape: [maxPositions, hidden] };
  const sizes = (out: number, input: number) => ({ out, in: input, bias: true, conv1d: true });
  return [
    { to: "transformer.vocab_embedding.weight", from: [words], split: "embedding", stage: "first" },
    { to: "transformer.position_embedding.weight", from: [positions], split: "embedding", stage: "first" },
    ...layer.norm("input_layernorm", "ln_1", hidden),
    ...layer.fusedQkv("attn.c_attn", [hidden, hidden, hidden], hidden),
    ...layer.linear("attention.dense", "attn.c_proj", "row", sizes(hidden, hidden)),
    ...layer.norm("post_layernorm", "ln_2", hidden),
    ...layer.linear("mlp.fc", "mlp.c_fc", "column", sizes(intermediateSize, hidden)),
    ...layer.linear("mlp.proj", "mlp.c_proj", "row", sizes(hidden, intermediateSize)),
    ...finalNorm(hidden),
    { to: "lm_head.weight", from: [head], split: "vocab", stage: "last", tied: spec.tiedEmbeddings },
  ];
}

function finalNorm(size: number): WeightRule[] {
  return ["weight", "bias"].map(part => ({
    to: `transformer.ln_f.${part}`,
    from: [{ name: `transformer.ln_f.${part}`, shape: [size] }],
    split: "replicated",
    stage: "last",
  }));
}

/** As NVIDIA's converter writes it by hand, with the switches of GPT's other variants at GPT-2's values. */
function gpt2Config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    architecture: "GPTForCausalLM",
    dtype: layout.dtype,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.kvHeads,
    hidden_size: spec.hiddenSize,
    intermediate_size: spec.intermediateSize,
    norm_epsilon: spec.normEps,
    vocab_size: spec.vocabSize,
    position_embedding_type: "learned_absolute",
    max_position_embeddings: spec.maxPositions,
    hidden_act: spec.activation === "gelu_tanh" ? "gelu_new" : spec.activation,
    ...embeddingKeys(layout),
    quantization: briefQuantization(layout),
    mapping: plainMapping(layout),
    bias: true,
    apply_query_key_layer_scaling: false,
    rotary_pct: 1,
    rotary_base: 10_000,
    rotary_scaling: null,
    qk_layernorm: false,
    inner_layernorm: false,
    norm_before_bmm1: false,
    scale_embedding: false,
    ...weightLayoutKey(layout),
  };
}

export const GPT2: LanguageFamily = {
  architecture: "GPT2LMHeadModel",
  modelType: "gpt2",
  read: readGpt2Decoder,
  base: "transformer.",
  names: NAMES,
  ignore: IGNORED,
  weights: gpt2Weights,
  words: WORDS,
  config: gpt2Config,
};
