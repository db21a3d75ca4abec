import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { attention, mergeHeads, splitHeads } from "./attention.ts";
import type { KvCache } from "./kv-cache.ts";
import { rmsNorm } from "./norm.ts";
import { applyRope, type RopeTables } from "./rope.ts";
import type { WeightSource } from "./weights.ts";

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

/** How scores are made: what each layer sees, and how q · k becomes a score. */
export interface Scoring {
  /** Factor of q · k. */
  readonly scale: number;
  /** Bound of the scores (`softCap`). */
  readonly cap?: number | undefined;
  /** cos and sin of a layer; undefined where positions are learned or not told. */
  rope(layer: number): RopeTables | undefined;
  /** Tokens that a query of a layer sees, itself included; undefined for all. */
  window(layer: number): number | undefined;
}

/** heads → rope → cache → attention in standard operators. */
export function standardSelfAttention(
  g: GraphBuilder,
  { heads, kvHeads, headDim }: HeadSizes,
  { scale, cap, rope, window }: Scoring,
  cache: KvCache,
): SelfAttention {
  const placed = (x: Value, count: number, tables: RopeTables | undefined): Value => {
    const split = splitHeads(g, x, count, headDim);
    return tables === undefined ? split : applyRope(g, split, tables);
  };
  return {
    attend(layer, qkv) {
      const sizes = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
      const [q, k, v] = g.split(qkv, sizes, 2) as [Value, Value, Value];
      const query = placed(q, heads, rope(layer));
      const fresh = { key: placed(k, kvHeads, rope(layer)), value: splitHeads(g, v, kvHeads, headDim) };
      const cached = cache.update(layer, fresh);
      return mergeHeads(g, attention(g, query, cached.key, cached.value, scale, cache.mask(window(layer)), cap));
    },
    finish: () => cache.finish(),
  };
}

/**
 * qkv [batch, seq, (heads + 2 kv_heads) · head_dim] with q and k normed head by head, by `name.q_layernorm` and
 * `name.k_layernorm` [head_dim]; v as it is.
 */
export function normQueriesAndKeys(
  g: GraphBuilder,
  w: WeightSource,
  qkv: Value,
  { heads, kvHeads, headDim }: HeadSizes,
  name: string,
  eps: number,
): Value {
  const [q, k, v] = g.split(qkv, [heads * headDim, kvHeads * headDim, kvHeads * headDim], 2) as [Value, Value, Value];
  const normed = (x: Value, count: number, norm: string): Value => {
    const each = g.reshape(x, [dimOf(x, 0), dimOf(x, 1), count, headDim]);
    return g.reshape(rmsNorm(g, w, each, `${name}.${norm}`, eps), x.shape);
  };
  return g.concat([normed(q, heads, "q_layernorm"), normed(k, kvHeads, "k_layernorm"), v], 2);
}
