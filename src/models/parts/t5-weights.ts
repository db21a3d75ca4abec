import type { ModelWeights, WeightRule } from "../architecture.ts";
import type { DecoderSpec, EncoderDecoderSpec, ModelSpec } from "../spec.ts";
import type { Stack } from "./encoder-decoder-config.ts";
import { layerRules } from "./weight-rules.ts";

const WORDS = "shared.weight";

/** T5's tensors in TensorRT-LLM's names; `prefix` stands before the stored ones inside a multimodal model. */
export function t5Weights(spec: ModelSpec, prefix = ""): Pick<ModelWeights, "language" | "encoder"> {
  const { language, encoderDecoder } = spec;
  const words = { name: prefix + WORDS, shape: [language.vocabSize, language.hiddenSize] };
  const head = language.tiedEmbeddings
    ? words
    : { name: `${prefix}lm_head.weight`, shape: words.shape, otherwise: words.name };
  return {
    encoder: [
      { to: "embedding.vocab_embedding.weight", from: [words], split: "replicated", stage: "every" },
      ...stackRules(language, encoderDecoder, "encoder", prefix),
    ],
    language: [
      { to: "embedding.vocab_embedding.weight", from: [words], split: "replicated", stage: "every" },
      ...stackRules(language, encoderDecoder, "decoder", prefix),
      // At the top as well, for TensorRT-LLM's table that is computed before the layers.
      { ...relativeTable(language, encoderDecoder, "decoder", prefix), to: "rel_attn_table", stage: "every" },
      { to: "lm_head.weight", from: [head], split: "vocab", stage: "every" },
    ],
  };
}

/** Older files store the word table up to four times; a bias of cross-attention was stored and never used. */
export function t5Known({ language }: ModelSpec, prefix = ""): Required<Pick<ModelWeights, "copies" | "ignore">> {
  const names = [
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    ...(language.tiedEmbeddings ? ["lm_head.weight"] : []),
  ];
  return {
    copies: names.map(name => ({ name: prefix + name, of: prefix + WORDS })),
    ignore: [/decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$/],
  };
}

function stackRules(
  language: DecoderSpec,
  encoderDecoder: EncoderDecoderSpec | undefined,
  stack: Stack,
  prefix: string,
): WeightRule[] {
  const { hiddenSize: hidden, headDim } = language;
  const { heads, intermediateSize } = stack === "encoder" ? (encoderDecoder?.encoder ?? language) : language;
  const inner = heads * headDim;
  const layer = layerRules(`${prefix}${stack}.block.{l}.layer.`, `${stack}_layers.{l}.`);
  const own = stack === "encoder" ? "attention" : "self_attention";
  const attention = (to: string, from: string): WeightRule[] => [
    ...layer.projections(`${to}.qkv`, [`${from}.q`, `${from}.k`, `${from}.v`], [inner, inner, inner], hidden, false),
    ...layer.linear(`${to}.dense`, `${from}.o`, "row", { out: hidden, in: inner, bias: false }),
  ];
  const mlp = `${stack === "encoder" ? 1 : 2}.DenseReluDense`;
  const up = { out: intermediateSize, in: hidden, bias: false };
  const gated = language.mlp === "gated";
  return [
    ...layer.rmsNorm(`${own}_layernorm`, "0.layer_norm", hidden),
    ...attention(own, "0.SelfAttention"),
    { ...relativeTable(language, encoderDecoder, stack, prefix), to: `${stack}_layers.{l}.${own}.rel_attn_table` },
    ...(stack === "decoder"
      ? [
          ...layer.rmsNorm("cross_attention_layernorm", "1.layer_norm", hidden),
          ...attention("cross_attention", "1.EncDecAttention"),
        ]
      : []),
    ...layer.rmsNorm("mlp_layernorm", `${stack === "encoder" ? 1 : 2}.layer_norm`, hidden),
    ...layer.linear("mlp.fc", gated ? `${mlp}.wi_0` : `${mlp}.wi`, "column", up),
    ...(gated ? layer.linear("mlp.gate", `${mlp}.wi_1`, "column", up) : []),
    ...layer.linear("mlp.proj", `${mlp}.wo`, "row", { out: hidden, in: intermediateSize, bias: false }),
    {
      to: "final_layernorm.weight",
      from: [{ name: `${prefix}${stack}.final_layer_norm.weight`, shape: [hidden] }],
      split: "replicated",
      stage: "every",
    },
  ];
}

/** One table a stack, kept in its first block, [buckets, heads]; TensorRT-LLM has it transposed in every layer. */
function relativeTable(
  language: DecoderSpec,
  encoderDecoder: EncoderDecoderSpec | undefined,
  stack: Stack,
  prefix: string,
): WeightRule {
  const heads = stack === "encoder" ? (encoderDecoder?.encoder?.heads ?? language.heads) : language.heads;
  return {
    to: "",
    from: [
      {
        name: `${prefix}${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`,
        shape: [encoderDecoder?.relative?.buckets ?? 0, heads],
      },
    ],
    split: "column",
    stage: "layer",
    transpose: true,
  };
}
