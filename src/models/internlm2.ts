import {
  type CheckpointConfig,
  type CheckpointLayout,
  defineArchitecture,
  type NameRule,
  type RowRange,
  type WeightRule,
} from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { handWrittenKeys, weightLayoutKey } from "./parts/checkpoint-config.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { llamaWeights } from "./parts/llama-weights.ts";
import type { DecoderSpec } from "./spec.ts";

/** InternLM2Config's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 103_168,
  hidden_size: 4096,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-6,
};

/** LLaMA's names of what InternLM2 stores under others; w1 is the activated one. */
const STORED: Readonly<Record<string, string>> = {
  "model.embed_tokens": "model.tok_embeddings",
  lm_head: "output",
  "self_attn.o_proj": "attention.wo",
  input_layernorm: "attention_norm",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "feed_forward.w1",
  "mlp.down_proj": "feed_forward.w2",
  "mlp.up_proj": "feed_forward.w3",
};

const NAMES: readonly NameRule[] = [{ stored: /^(tok_embeddings|layers|norm)\./, canonical: "model.$1." }];

export const INTERNLM2: LanguageFamily = {
  ...LLAMA,
  architecture: "InternLM2ForCausalLM",
  modelType: "internlm2",
  read: readInternLm2Decoder,
  names: NAMES,
  ignore: [/^model\.layers\.\d+\.attention\.rotary_emb\.inv_freq$/],
  weights: internLm2Weights,
  words: "model.tok_embeddings.weight",
  head: "output.weight",
  config: internLm2Config,
};

/** Everything mmtrt knows about InternLM2 and 2.5: LLaMA under other names, with q, k and v in one product by groups of heads. */
export default defineArchitecture(textOnly(INTERNLM2));

function readInternLm2Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  c.only("pretraining_tp", [1], "products would be cut in parts");
  return {
    ...readLlamaDecoder(c, nested, DEFAULTS),
    architecture: "InternLM2ForCausalLM",
    // `bias` is attention's alone.
    mlpBias: false,
  };
}

function internLm2Weights(spec: DecoderSpec): WeightRule[] {
  const { heads, kvHeads, headDim, hiddenSize } = spec;
  const sizes = [heads, kvHeads, kvHeads].map(count => count * headDim);
  const rows = sizes.reduce((sum, size) => sum + size, 0);
  return llamaWeights(spec).map((rule): WeightRule => {
    if (!rule.to.includes("attention.qkv.")) return { ...rule, from: rule.from.map(renamed) };
    const part = rule.to.endsWith(".bias") ? "bias" : "weight";
    const name = `model.layers.{l}.attention.wqkv.${part}`;
    const shape = part === "bias" ? [rows] : [rows, hiddenSize];
    return { ...rule, from: [{ name, shape }], rows: groupedRows(spec), cut: sizes };
  });
}

function renamed(source: WeightRule["from"][number]): WeightRule["from"][number] {
  const [, prefix = "", module = "", part = ""] = /^(model\.layers\.\{l\}\.)?(.+)\.(\w+)$/.exec(source.name) ?? [];
  return { ...source, name: `${prefix}${STORED[module] ?? module}.${part}` };
}

/** wqkv has for each key/value head its query heads, its keys and its values: all of q's rows, then k's, then v's. */
function groupedRows({ heads, kvHeads, headDim }: DecoderSpec): readonly RowRange[] {
  const queries = (heads / kvHeads) * headDim;
  const group = queries + 2 * headDim;
  const each = (from: number, to: number): RowRange[] =>
    Array.from({ length: kvHeads }, (_, i) => [i * group + from, i * group + to]);
  return [...each(0, queries), ...each(queries, queries + headDim), ...each(queries + headDim, group)];
}

/** As NVIDIA's converter for InternLM2 writes it. */
function internLm2Config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return { ...handWrittenKeys(spec, layout), attn_bias: spec.attentionBias, ...weightLayoutKey(layout) };
}
