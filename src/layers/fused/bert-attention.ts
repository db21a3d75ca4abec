import type { PluginSet } from "../../graph/dialect.ts";
import type { Value } from "../../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../../graph/ops.ts";
import { attention, mergeHeads, splitHeads } from "../attention.ts";
import { maskedBias, paddingMask } from "../relative-bias.ts";
import { ALL_REDUCE } from "./all-reduce.ts";
import { type FusedOp, fused, isHalf } from "./op.ts";

export const BERT_ATTENTION: FusedOp = {
  name: "BertAttention",
  version: "1",
  inputs: ["q", "k", "v", "bias", "lengths"],
  outputs: ["y"],
};

/** The same with the operation's last input, which a node may leave out. */
const SEGMENT_ATTENTION: FusedOp = { ...BERT_ATTENTION, inputs: [...BERT_ATTENTION.inputs, "segments"] };

/** q [batch, rows, width], k and v [batch, others, width], heads side by side. */
export interface EncoderAttention {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly heads: number;
  /** Factor of q · k. */
  readonly scale: number;
  /** Added to the scores, [1 or batch, heads, rows, others]. */
  readonly bias?: Value | undefined;
  /** Keys of each sequence, int32 [batch]: those after them are padding. All where it is absent. */
  readonly lengths?: Value | undefined;
}

/** softmax(scale · q · kᵀ + bias) · v by heads in standard operators, every query seeing every key: [batch, rows, width]. */
export function encoderAttention(g: GraphBuilder, { q, k, v, heads, scale, bias, lengths }: EncoderAttention): Value {
  const headDim = (dimOf(q, 2) as number) / heads;
  const split = (x: Value): Value => splitHeads(g, x, heads, headDim);
  const visible = lengths && paddingMask(g, tokensOf(g, lengths, k), q);
  const mask = bias && visible ? maskedBias(g, visible, bias) : (bias ?? visible);
  return mergeHeads(g, attention(g, split(q), split(k), split(v), scale, mask));
}

/** 1 for a token, 0 for padding behind it: int32 [batch, others]. */
function tokensOf(g: GraphBuilder, lengths: Value, keys: Value): Value {
  const columns = g.cast(g.unsqueeze(g.range(g.sizeOf(keys, 1), dimOf(keys, 1)), [0]), "int32");
  return g.cast(g.less(columns, g.unsqueeze(lengths, [1])), "int32");
}

/** Of the operations that become nodes, those of encoders: their products and norms are standard operators. */
export function encoderPlugins(plugins: readonly string[] = []): PluginSet {
  return new Set(plugins.filter(name => name === BERT_ATTENTION.name || name === ALL_REDUCE.name));
}

/** Whether attention with heads of `headDim` channels is a node. */
export function isBertNode(g: GraphBuilder, q: Value, headDim: number): boolean {
  // plugin.yaml and kernel.cu: copies of 8 elements, heads of up to 128.
  return g.plugins.has(BERT_ATTENTION.name) && isHalf(q) && headDim % 8 === 0 && headDim <= 128;
}

/** The same, as one node where the graph has one. */
export function bertAttention(g: GraphBuilder, call: EncoderAttention): Value {
  return pluginBertAttention(g, call) ?? encoderAttention(g, call);
}

function pluginBertAttention(g: GraphBuilder, call: EncoderAttention): Value | undefined {
  const { q, k, v, heads, scale, bias, lengths } = call;
  if (!isHalf(q) || !isBertNode(g, q, (dimOf(q, 2) as number) / heads)) return undefined;
  const [y] =
    fused(g, BERT_ATTENTION, {
      inputs: { q, k, v, bias: bias ?? q.dtype, lengths: lengths ?? { dtype: "int32", neutral: 0 } },
      outputs: [q],
      attributes: { num_heads: { int: heads }, scale: { float: scale } },
      body: (b, own) => [
        encoderAttention(b, {
          q: own.q as Value,
          k: own.k as Value,
          v: own.v as Value,
          heads,
          scale,
          bias: bias && own.bias,
          lengths: lengths && own.lengths,
        }),
      ],
    }) ?? [];
  return y;
}

/** Packed rows [1, rows, width] that see their segment, as one node; `body` gives that in standard operators. undefined where the graph has no such node. */
export function pluginSegmentAttention(
  g: GraphBuilder,
  call: Pick<EncoderAttention, "q" | "k" | "v" | "heads" | "scale">,
  segments: Value,
  body: (g: GraphBuilder, own: typeof call, segments: Value) => Value,
): Value | undefined {
  const { q, k, v, heads, scale } = call;
  if (!isHalf(q) || !isBertNode(g, q, (dimOf(q, 2) as number) / heads)) return undefined;
  const [y] =
    fused(g, SEGMENT_ATTENTION, {
      inputs: { q, k, v, bias: q.dtype, lengths: { dtype: "int32", neutral: 0 }, segments },
      outputs: [q],
      attributes: { num_heads: { int: heads }, scale: { float: scale } },
      body: (b, own) => [
        body(b, { q: own.q as Value, k: own.k as Value, v: own.v as Value, heads, scale }, own.segments as Value),
      ],
    }) ?? [];
  return y;
}
