import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { isFloatDtype } from "../tensor/index.ts";
import type { WeightSource } from "./weights.ts";

/** Distances that share a bias; bidirectional where keys may follow the query (encoders). */
export interface Buckets {
  readonly buckets: number;
  readonly maxDistance: number;
  readonly bidirectional: boolean;
}

/**
 * T5's bucket of each distance key − query from −maxDistance to maxDistance, beyond which nothing changes. Half of a
 * side's n buckets are for the distances below n/2, the others grow by logarithm:
 *   n/2 + ⌊ln(d / (n/2)) / ln(maxDistance / (n/2)) · n/2⌋, at most n − 1, in float32 steps as PyTorch takes them.
 */
export function bucketTable({ buckets, maxDistance, bidirectional }: Buckets): Int32Array {
  const f = Math.fround;
  const side = bidirectional ? buckets / 2 : buckets;
  const exact = Math.floor(side / 2);
  const ofDistance = (d: number): number => {
    if (d < exact) return d;
    const share = f(f(Math.log(f(d / exact))) / f(Math.log(maxDistance / exact)));
    return Math.min(side - 1, exact + Math.trunc(f(share * (side - exact))));
  };
  return Int32Array.from({ length: 2 * maxDistance + 1 }, (_, i) => {
    const after = i - maxDistance;
    if (!bidirectional) return ofDistance(Math.max(0, -after));
    return ofDistance(Math.abs(after)) + (after > 0 ? side : 0);
  });
}

/** The learned bias of each distance: table [heads, buckets], distances int32 [n, seq, total] → [n, heads, seq, total]. */
export function relativeBias(
  g: GraphBuilder,
  w: WeightSource,
  name: string,
  heads: number,
  buckets: Buckets,
  distances: Value,
): Value {
  const { maxDistance } = buckets;
  return g.scope("relative_bias", () => {
    const within = g.maximum(g.minimum(distances, g.int32(maxDistance)), g.int32(-maxDistance));
    const table = g.int32s([...bucketTable(buckets)], [2 * maxDistance + 1]);
    const bucket = g.gather(table, g.add(within, g.int32(maxDistance)));
    const bias = g.gather(w.get(g, name, [heads, buckets.buckets]), bucket, 1);
    return g.transpose(bias, [1, 0, 2, 3]);
  });
}

/** The most negative number that every dtype's softmax takes for "not at all". */
const LOWEST = { float32: -3.4e38, float16: -65504, bfloat16: -3.38e38 } as const;

/** bias where the mask lets a query see a key, else the lowest number: bool [batch, 1, seq, total] → [batch, heads, seq, total]. */
export function maskedBias(g: GraphBuilder, mask: Value, bias: Value): Value {
  const { dtype } = bias;
  if (!isFloatDtype(dtype)) throw new Error(`a bias cannot be ${dtype}`);
  return g.where(mask, bias, g.scalar(LOWEST[dtype], dtype));
}

/** Tokens an encoder's queries see: attention_mask int32 [batch, total] → bool [batch, 1, seq, total]; `like` has seq at axis 1. */
export function paddingMask(g: GraphBuilder, attentionMask: Value, like: Value): Value {
  return g.scope("mask", () => {
    const tokens = g.unsqueeze(g.cast(attentionMask, "bool"), [1, 2]);
    const [batch, total] = [dimOf(attentionMask, 0), dimOf(attentionMask, 1)];
    // With every query written out: ONNX Runtime does not broadcast that axis.
    const shape = g.concat([g.int64s([1, 1]), g.sizeOf(like, 1), g.int64s([1])], 0);
    return g.expand(tokens, shape, [batch, 1, dimOf(like, 1), total]);
  });
}
