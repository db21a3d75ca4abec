import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { causalMask, type Spans, seenKeys } from "./attention.ts";
import type { CacheForm } from "./cache-form.ts";

/** Keys and values of one layer, [batch, kv_heads, total, head_dim]. */
export interface KeyValue {
  readonly key: Value;
  readonly value: Value;
}

/** Where keys and values of earlier tokens come from and where the new ones go. */
export interface KvCache {
  /** Which cached keys each query sees, bool [batch, 1, seq, total], with one of the windows that the cache was made for. */
  mask(window?: number): Value;
  /** Position of each cached key less that of each query, int32 [1 or batch, seq, total]. */
  distances(): Value;
  /** Adds a layer's new keys and values, [batch, kv_heads, seq, head_dim], and gives all of them. */
  update(layer: number, fresh: KeyValue): KeyValue;
  /** Declares the outputs, layer by layer; called once after the last layer. */
  finish(): void;
}

/** Windows of the layers of a cache, each once; undefined for layers that see everything. */
export type Windows = readonly (number | undefined)[];

/** A mask for each window, made where the cache is made. */
export function masksOf(windows: Windows, mask: (window?: number) => Value): KvCache["mask"] {
  const masks = new Map(windows.map(window => [window, mask(window)]));
  return window => {
    const known = masks.get(window);
    if (known === undefined) throw new Error(`the cache has no mask for a window of ${window} tokens`);
    return known;
  };
}

/**
 * past_key_i ++ new → present_key_i: the cache grows by a copy a step; left- or right-padded prompts by attention_mask.
 * A window hides keys further back and keeps them all the same.
 */
export function continuousCache(
  g: GraphBuilder,
  form: CacheForm,
  positionIds: Value,
  windows: Windows = [undefined],
  spans?: Spans,
): KvCache {
  const attentionMask = g.input("attention_mask", "int32", ["batch", "past + seq"]);
  const mask = masksOf(windows, window => causalMask(g, positionIds, attentionMask, window, spans));
  const presents: KeyValue[] = [];
  const extend = (layer: number, part: keyof KeyValue, fresh: Value): Value => {
    const past = g.input(`past_${part}_${layer}`, form.dtype, ["batch", dimOf(fresh, 1), "past", dimOf(fresh, 3)]);
    return g.concat([past, form.store(layer, fresh)], 2);
  };
  return {
    mask,
    distances: () =>
      g.scope("distances", () => {
        const [seq, total] = [g.sizeOf(positionIds, 1), g.sizeOf(attentionMask, 1)];
        const queries = g.add(g.range(seq, "seq"), g.subtract(total, seq));
        return distanceOf(
          g,
          g.unsqueeze(g.range(total, dimOf(attentionMask, 1)), [0, 1]),
          g.unsqueeze(queries, [0, 2]),
        );
      }),
    update(layer, fresh) {
      const present = { key: extend(layer, "key", fresh.key), value: extend(layer, "value", fresh.value) };
      presents[layer] = present;
      return { key: form.read(layer, present.key), value: form.read(layer, present.value) };
    },
    finish() {
      for (const [layer, { key, value }] of presents.entries()) {
        g.output(key, `present_key_${layer}`);
        g.output(value, `present_value_${layer}`);
      }
    },
  };
}

/**
 * A cache of fixed capacity, written in place at `cache_lengths` (TensorScatter; TensorRT updates without a copy).
 * Prompts are right-padded: what padding wrote lies beyond the item's length, is seen by nobody and overwritten next.
 */
export function staticCache(
  g: GraphBuilder,
  form: CacheForm,
  positionIds: Value,
  capacity: number,
  windows: Windows = [undefined],
  spans?: Spans,
): KvCache {
  const lengths = g.input("cache_lengths", "int32", ["batch"]);
  const writeAt = g.cast(lengths, "int64");
  const mask = g.scope("mask", () => {
    const keys = g.unsqueeze(g.range(g.int64s([capacity]), capacity), [0, 1, 2]);
    const queries = g.add(g.unsqueeze(g.range(g.sizeOf(positionIds, 1), "seq"), [0]), g.unsqueeze(writeAt, [1]));
    return masksOf(windows, window => seenKeys(g, keys, g.unsqueeze(queries, [1, 3]), window, spans));
  });
  const updated: KeyValue[] = [];
  const scatter = (layer: number, part: keyof KeyValue, fresh: Value): Value => {
    const shape = ["batch", dimOf(fresh, 1), capacity, dimOf(fresh, 3)];
    const cache = g.input(`cache_${part}_${layer}`, form.dtype, shape);
    return g.node("TensorScatter", [cache, form.store(layer, fresh), writeAt], cache, {
      axis: { int: 2 },
      mode: { text: "linear" },
    });
  };
  return {
    mask,
    distances: () =>
      g.scope("distances", () => {
        const queries = g.add(g.unsqueeze(g.range(g.sizeOf(positionIds, 1), "seq"), [0]), g.unsqueeze(writeAt, [1]));
        return distanceOf(g, g.unsqueeze(g.range(g.int64s([capacity]), capacity), [0, 1]), g.unsqueeze(queries, [2]));
      }),
    update(layer, fresh) {
      const both = { key: scatter(layer, "key", fresh.key), value: scatter(layer, "value", fresh.value) };
      updated[layer] = both;
      return { key: form.read(layer, both.key), value: form.read(layer, both.value) };
    },
    finish() {
      for (const [layer, { key, value }] of updated.entries()) {
        g.output(key, `cache_key_${layer}_out`);
        g.output(value, `cache_value_${layer}_out`);
      }
    },
  };
}

/** keys − queries in int32. */
export function distanceOf(g: GraphBuilder, keys: Value, queries: Value): Value {
  return g.subtract(g.cast(keys, "int32"), g.cast(queries, "int32"));
}
