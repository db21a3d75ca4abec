import type { NameRule, SourceTensor, WeightRule } from "../architecture.ts";
import type { DecoderSpec } from "../spec.ts";

/** Published checkpoints without the `model.` prefix (the bare LlamaModel saved alone). */
export const LLAMA_NAMES: readonly NameRule[] = [{ stored: /^(embed_tokens|layers|norm)\./, canonical: "model.$1." }];

/** Rotary frequencies that transformers kept as buffers until 4.31; they follow from rope_theta. */
export const LLAMA_IGNORED: readonly RegExp[] = [/^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/];

/**
 * Tensors of LLaMA and its kin in TensorRT-LLM's names. The trap of the table: TensorRT-LLM's mlp.fc is gate_proj, its mlp.gate is
 * up_proj, for it computes act(fc(x)) · gate(x).
 */
export function llamaWeights(spec: DecoderSpec): WeightRule[] {
  const { vocabSize, hiddenSize } = spec;
  const words: SourceTensor = { name: "model.embed_tokens.weight", shape: [vocabSize, hiddenSize] };
  const head = spec.tiedEmbeddings ? words : { name: "lm_head.weight", shape: [vocabSize, hiddenSize] };
  return [
    { to: "transformer.vocab_embedding.weight", from: [words], split: "embedding", stage: "first" },
    ...layerWeights(spec),
    {
      to: "transformer.ln_f.weight",
      from: [{ name: "model.norm.weight", shape: [hiddenSize] }],
      split: "replicated",
      stage: "last",
      ...storedLess(spec),
    },
    { to: "lm_head.weight", from: [head], split: "vocab", stage: "last", tied: spec.tiedEmbeddings },
  ];
}

/** What brings a stored norm to what it multiplies by. */
function storedLess({ normsStoredLessOne }: DecoderSpec): Pick<WeightRule, "plus"> {
  return normsStoredLessOne ? { plus: 1 } : {};
}

function layerWeights(spec: DecoderSpec): WeightRule[] {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, attentionBias, outputBias, mlpBias } = spec;
  const rule = (
    to: string,
    from: readonly string[],
    split: WeightRule["split"],
    shapes: readonly SourceTensor["shape"][],
  ): WeightRule => ({
    to: `transformer.layers.{l}.${to}`,
    from: from.map((name, i) => ({ name: `model.layers.{l}.${name}`, shape: shapes[i] ?? [] })),
    split,
    stage: "layer",
  });
  const linear = (
    to: string,
    from: string,
    split: WeightRule["split"],
    out: number,
    input: number,
    bias: boolean,
  ): WeightRule[] => [
    rule(`${to}.weight`, [`${from}.weight`], split, [[out, input]]),
    // A row-parallel product is summed over ranks, so its bias is kept whole and added once after the sum.
    ...(bias ? [rule(`${to}.bias`, [`${from}.bias`], split === "row" ? "replicated" : split, [[out]])] : []),
  ];
  const norm = (to: string, from: string, size: number): WeightRule => ({
    ...rule(`${to}.weight`, [`${from}.weight`], "replicated", [[size]]),
    ...storedLess(spec),
  });
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const qkv = ["q_proj", "k_proj", "v_proj"].map(name => `self_attn.${name}`);
  return [
    norm("input_layernorm", "input_layernorm", hiddenSize),
    rule(
      "attention.qkv.weight",
      qkv.map(name => `${name}.weight`),
      "qkv",
      [
        [q, hiddenSize],
        [kv, hiddenSize],
        [kv, hiddenSize],
      ],
    ),
    ...(attentionBias
      ? [
          rule(
            "attention.qkv.bias",
            qkv.map(name => `${name}.bias`),
            "qkv",
            [[q], [kv], [kv]],
          ),
        ]
      : []),
    ...(spec.qkNorm
      ? [
          norm("attention.q_layernorm", "self_attn.q_norm", headDim),
          norm("attention.k_layernorm", "self_attn.k_norm", headDim),
        ]
      : []),
    ...linear("attention.dense", "self_attn.o_proj", "row", hiddenSize, q, outputBias),
    norm("post_layernorm", "post_attention_layernorm", hiddenSize),
    ...(spec.outputNorms
      ? ["pre_feedforward_layernorm", "post_feedforward_layernorm"].map(name => norm(name, name, hiddenSize))
      : []),
    ...linear("mlp.fc", "mlp.gate_proj", "column", intermediateSize, hiddenSize, mlpBias),
    ...linear("mlp.gate", "mlp.up_proj", "column", intermediateSize, hiddenSize, mlpBias),
    ...linear("mlp.proj", "mlp.down_proj", "row", hiddenSize, intermediateSize, mlpBias),
  ];
}
