import type { Dim } from "../graph/dim.ts";
import { attentionFunction, fullAttentionFunction } from "../graph/functions.ts";
import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";

/** [batch, seq, heads·d] → [batch, heads, seq, d]. */
export function splitHeads(g: GraphBuilder, x: Value, heads: number, headDim: number): Value {
  return g.transpose(g.reshape(x, [dimOf(x, 0), dimOf(x, 1), heads, headDim]), [0, 2, 1, 3]);
}

/** [batch, heads, seq, d] → [batch, seq, heads·d]. */
export function mergeHeads(g: GraphBuilder, x: Value): Value {
  const [batch, heads, seq, headDim] = x.shape as [Dim, number, Dim, number];
  return g.reshape(g.transpose(x, [0, 2, 1, 3]), [batch, seq, heads * headDim]);
}

/**
 * softmax(q·kᵀ·scale + mask)·v: q [batch, heads, seq, d], k and v [batch, kv_heads, total, d] (each KV head serves
 * heads/kv_heads query heads), mask bool [batch, 1, seq, total] or none for full attention. A mask of q's dtype,
 * [1 or batch, heads, seq, total], is added to the scores. With a `cap` scores become cap · tanh(score / cap) before the mask.
 */
export function attention(
  g: GraphBuilder,
  q: Value,
  k: Value,
  v: Value,
  scale: number,
  mask?: Value,
  cap?: number,
): Value {
  // Attention-23 has a softcap, which TensorRT's parsers refuse.
  if (cap !== undefined) return decomposedAttention(g, q, k, v, scale, mask, cap);
  // TensorRT-RTX 1.7 fails on heads of 9 or 12 half-precision channels; published models have multiples of 8.
  const fused = q.dtype === "float32" || (dimOf(q, 3) as number) % 8 === 0;
  if (!g.dialect.attention || !fused) return decomposedAttention(g, q, k, v, scale, mask);
  const fn = mask === undefined ? fullAttentionFunction : attentionFunction;
  const inputs = mask === undefined ? [q, k, v] : [q, k, v, mask];
  return g.call(fn, inputs, q, { scale: { float: scale }, TRT_decomposable: { int: 1 } });
}

/** The same in plain operators: query heads that share a KV head are a dimension of their own, so that no key is repeated. */
function decomposedAttention(
  g: GraphBuilder,
  q: Value,
  k: Value,
  v: Value,
  scale: number,
  mask?: Value,
  cap?: number,
): Value {
  const [batch, heads, seq, headDim] = q.shape as [Dim, number, Dim, number];
  const kvHeads = dimOf(k, 1) as number;
  return g.scope("sdpa", () => {
    const grouped = g.reshape(g.multiply(q, g.scalar(scale, q.dtype)), [batch, kvHeads, heads / kvHeads, seq, headDim]);
    const keys = g.transpose(g.unsqueeze(k, [2]), [0, 1, 2, 4, 3]);
    // float32 from here to the probabilities: half precision loses the tail of a long row.
    const products = g.cast(g.matmul(grouped, keys), "float32");
    const scores = cap === undefined ? products : softCap(g, products, cap);
    const visible = mask === undefined ? scores : masked(g, scores, g.unsqueeze(mask, [2]));
    const weights = g.cast(g.softmaxLast(visible), q.dtype);
    return g.reshape(g.matmul(weights, g.unsqueeze(v, [2])), [batch, heads, seq, headDim]);
  });
}

/** cap · tanh(x / cap): nearly x while that is small, never beyond ± cap. */
export function softCap(g: GraphBuilder, x: Value, cap: number): Value {
  const bound = g.scalar(cap, x.dtype);
  return g.multiply(g.tanh(g.divide(x, bound)), bound);
}

/** A boolean mask hides what it does not show; another is added. */
function masked(g: GraphBuilder, scores: Value, mask: Value): Value {
  if (mask.dtype !== "bool") return g.add(scores, g.cast(mask, "float32"));
  return g.where(mask, scores, g.scalar(-3.4e38, "float32"));
}

/**
 * Which keys a query sees, bool [batch, 1, seq, past + seq]: those not padded and not after it. Built from run-time
 * sizes, because the standard op's own causal mode counts from the wrong corner when a cache is concatenated outside.
 * A padded query sees itself all the same: a row with nothing to see would be NaN, and NaN · 0 poisons its neighbours.
 * With a `window` a query sees itself and the window − 1 columns before it; with `spans` more.
 */
export function causalMask(
  g: GraphBuilder,
  positionIds: Value,
  attentionMask: Value,
  window?: number,
  spans?: Spans,
): Value {
  const seq = dimOf(positionIds, 1);
  const total = dimOf(attentionMask, 1);
  return g.scope("mask", () => {
    const seqSize = g.sizeOf(positionIds, 1);
    const totalSize = g.sizeOf(attentionMask, 1);
    const pastSize = g.subtract(totalSize, seqSize);
    const keys = g.unsqueeze(g.range(totalSize, total), [0]);
    const queries = g.unsqueeze(g.add(g.range(seqSize, seq), pastSize), [1]);
    const token = g.unsqueeze(g.cast(attentionMask, "bool"), [1, 2]);
    return g.and(seenKeys(g, keys, queries, window, spans), g.or(token, g.equal(keys, queries)));
  });
}

/** Runs of tokens that see each other both ways. */
export interface Spans {
  /** How many tokens of its span are left at a query, itself counted, and 0 outside of spans: int32 [batch, seq]. */
  readonly left: Value;
  /** Whether a query of a span sees all before it, whatever the window; it sees the span's beginning within the window otherwise. */
  readonly endless: boolean;
}

/** Which keys each query sees, both int64 columns: those up to it or to its span's end, and with a window none further back than that. */
export function seenKeys(
  g: GraphBuilder,
  keys: Value,
  queries: Value,
  window: number | undefined,
  spans: Spans | undefined,
): Value {
  const upTo = g.lessOrEqual(keys, queries);
  const within = (seen: Value): Value =>
    window === undefined ? seen : g.and(seen, g.less(g.subtract(queries, g.int64s([window])), keys));
  if (spans === undefined) return within(upTo);
  const left = g.unsqueeze(g.cast(spans.left, "int64"), [1, 3]);
  const before = g.less(keys, g.add(queries, left));
  if (!spans.endless || window === undefined) return within(g.or(upTo, before));
  return g.or(within(upTo), g.and(before, g.less(g.int64s([0]), left)));
}
