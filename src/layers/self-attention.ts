import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { attention, mergeHeads, splitHeads } from "./attention.ts";
import type { KvCache } from "./kv-cache.ts";
import { applyRope, type RopeTables } from "./rope.ts";

/** Heads of one rank. */
export interface HeadSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** What stands between a layer's fused product for q, k, v and its output product. */
export interface SelfAttention {
  /** qkv [batch, seq, (heads + 2 kv_heads) · head_dim] of a layer → [batch, seq, heads · head_dim], over the layer's cache. */
  attend(layer: number, qkv: Value): Value;
  /** Declares the cache's outputs, layer by layer; called once after the last layer. */
  finish(): void;
}

/** heads → rope → cache → attention in standard operators. `rope` is undefined for learned positions. */
export function standardSelfAttention(
  g: GraphBuilder,
  { heads, kvHeads, headDim }: HeadSizes,
  rope: RopeTables | undefined,
  cache: KvCache,
): SelfAttention {
  const placed = (x: Value, count: number): Value => {
    const split = splitHeads(g, x, count, headDim);
    return rope === undefined ? split : applyRope(g, split, rope);
  };
  return {
    attend(layer, qkv) {
      const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
      const [q, k, v] = g.split(qkv, sizes, 2) as [Value, Value, Value];
      const query = placed(q, heads);
      const fresh = { key: placed(k, kvHeads), value: splitHeads(g, v, kvHeads, headDim) };
      const cached = cache.update(layer, fresh);
      return mergeHeads(g, attention(g, query, cached.key, cached.value, scoreScale(headDim), cache.mask));
    },
    finish: () => cache.finish(),
  };
}

/** Factor of q · k. */
export function scoreScale(headDim: number): number {
  return 1 / Math.sqrt(headDim);
}
