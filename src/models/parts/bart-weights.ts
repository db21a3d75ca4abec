import type { ModelWeights, NameRule, SourceTensor, WeightRule } from "../architecture.ts";
import type { ModelSpec } from "../spec.ts";
import type { Stack } from "./encoder-decoder-config.ts";
import { layerRules } from "./weight-rules.ts";

/** transformers keeps two rows before position 0, from fairseq's padding index. */
const POSITION_OFFSET = 2;

/** Published checkpoints saved by the bare BartModel. */
const NAMES: readonly NameRule[] = [{ stored: /^(shared|encoder|decoder)\./, canonical: "model.$1." }];

/** BART's and mBART's tensors: one word table for encoder, decoder and lm_head. */
export function bartWeights(spec: ModelSpec): ModelWeights {
  const words: SourceTensor = tableOf(spec, "model.shared.weight");
  const copies = ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"];
  return {
    names: NAMES,
    encoder: stackRules(spec, "encoder", "model.encoder.", words),
    language: decoderRules(spec, "model.decoder.", words, words),
    visual: [],
    ignore: [],
    copies: copies.map(name => ({ name, of: words.name })),
    zeros: ["final_logits_bias"],
  };
}

/** A decoder stored under `prefix` without an encoder of its own: its words are its own table. */
export function bartDecoderWeights(
  spec: ModelSpec,
  prefix: string,
): Required<Pick<ModelWeights, "language" | "copies">> {
  const words = tableOf(spec, `${prefix}model.decoder.embed_tokens.weight`);
  const head = tableOf(spec, `${prefix}lm_head.weight`);
  const { tiedEmbeddings } = spec.language;
  return {
    language: decoderRules(spec, `${prefix}model.decoder.`, words, tiedEmbeddings ? words : head),
    copies: tiedEmbeddings ? [{ name: head.name, of: words.name }] : [],
  };
}

function tableOf({ language }: ModelSpec, name: string): SourceTensor {
  return { name, shape: [language.vocabSize, language.hiddenSize] };
}

function decoderRules(spec: ModelSpec, prefix: string, words: SourceTensor, head: SourceTensor): WeightRule[] {
  return [
    ...stackRules(spec, "decoder", prefix, words),
    { to: "lm_head.weight", from: [head], split: "vocab", stage: "every" },
  ];
}

function stackRules(
  { language, encoderDecoder }: ModelSpec,
  stack: Stack,
  prefix: string,
  words: SourceTensor,
): WeightRule[] {
  const { hiddenSize: hidden, maxPositions } = language;
  const { intermediateSize } = stack === "encoder" ? (encoderDecoder?.encoder ?? language) : language;
  const layer = layerRules(`${prefix}layers.{l}.`, `${stack}_layers.{l}.`);
  const own = stack === "encoder" ? "attention" : "self_attention";
  const square = { out: hidden, in: hidden, bias: true };
  const attention = (to: string, from: string): WeightRule[] => [
    ...layer.norm(`${to}_layernorm`, `${from}_layer_norm`, hidden),
    ...layer.projections(
      `${to}.qkv`,
      [`${from}.q_proj`, `${from}.k_proj`, `${from}.v_proj`],
      [hidden, hidden, hidden],
      hidden,
      true,
    ),
    ...layer.linear(`${to}.dense`, `${from}.out_proj`, "row", square),
  ];
  const norm = (to: string, from: string): WeightRule[] =>
    ["weight", "bias"].map(part => ({
      to: `${to}.${part}`,
      from: [{ name: `${prefix}${from}.${part}`, shape: [hidden] }],
      split: "replicated",
      stage: "every",
    }));
  return [
    { to: "embedding.vocab_embedding.weight", from: [words], split: "replicated", stage: "every" },
    {
      to: "embedding.position_embedding.weight",
      from: [{ name: `${prefix}embed_positions.weight`, shape: [maxPositions + POSITION_OFFSET, hidden] }],
      split: "replicated",
      stage: "every",
      skipRows: POSITION_OFFSET,
    },
    ...norm("embedding.embedding_layernorm", "layernorm_embedding"),
    ...attention(own, "self_attn"),
    ...(stack === "decoder" ? attention("cross_attention", "encoder_attn") : []),
    ...layer.norm("mlp_layernorm", "final_layer_norm", hidden),
    ...layer.linear("mlp.fc", "fc1", "column", { out: intermediateSize, in: hidden, bias: true }),
    ...layer.linear("mlp.proj", "fc2", "row", { out: hidden, in: intermediateSize, bias: true }),
    ...(encoderDecoder?.finalNorm ? norm("final_layernorm", "layer_norm") : []),
  ];
}
