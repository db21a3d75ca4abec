import { type Dim, multiplyDims } from "../graph/dim.ts";
import type { Value } from "../graph/graph.ts";
import type { GraphBuilder } from "../graph/ops.ts";
import { type Spans, seenKeys } from "./attention.ts";
import type { CacheForm } from "./cache-form.ts";
import { distanceOf, type KeyValue, type KvCache, masksOf, type Windows } from "./kv-cache.ts";

/**
 * A pool of blocks of tokens, [blocks, kv_heads, tokens_per_block, head_dim], and for each sequence the list of its blocks.
 * Token p of sequence b lies in block block_table[b, p / tokens_per_block] at p mod tokens_per_block. Prompts are padded on
 * the right; block 0 is no sequence's, so that what padding writes beyond a sequence's blocks is read by nobody.
 * `like` has seq at axis 1.
 */
export function pagedCache(
  g: GraphBuilder,
  form: CacheForm,
  like: Value,
  tokensPerBlock: number,
  windows: Windows = [undefined],
  spans?: Spans,
): KvCache {
  const lengths = g.input("cache_lengths", "int32", ["batch"]);
  const table = g.input("block_table", "int32", ["batch", "blocks_per_sequence"]);
  const capacity = multiplyDims("blocks_per_sequence", tokensPerBlock);
  const { columns, positions, mask } = g.scope("mask", () => {
    const size = g.node("Mul", [g.sizeOf(table, 1), g.int64s([tokensPerBlock])], { dtype: "int64", shape: [1] });
    const columns = g.unsqueeze(g.range(size, capacity), [0]);
    const steps = g.unsqueeze(g.range(g.sizeOf(like, 1), "seq"), [0]);
    const positions = g.add(steps, g.unsqueeze(g.cast(lengths, "int64"), [1]));
    const [keys, queries] = [g.unsqueeze(columns, [0, 1]), g.unsqueeze(positions, [1, 3])];
    const mask = masksOf(windows, window => seenKeys(g, keys, queries, window, spans));
    return { columns, positions, mask };
  });
  const slots = new Map<Dim, Value>();
  const pools: KeyValue[] = [];
  const write = (layer: number, part: keyof KeyValue, fresh: Value): Value => {
    const [, kvHeads, , headDim] = fresh.shape as [Dim, number, Dim, number];
    const pool = g.input(`cache_${part}_${layer}`, form.dtype, ["blocks", kvHeads, tokensPerBlock, headDim]);
    const at = slots.get(kvHeads) ?? g.scope("slots", () => slotsOf(g, table, positions, kvHeads, tokensPerBlock));
    slots.set(kvHeads, at);
    return g.node("ScatterND", [pool, at, form.store(layer, fresh)], pool);
  };
  const read = (layer: number, pool: Value): Value => {
    const [, kvHeads, , headDim] = pool.shape as [Dim, number, number, number];
    const blocks = g.transpose(form.read(layer, g.gather(pool, table)), [0, 2, 1, 3, 4]);
    return g.reshape(blocks, ["batch", kvHeads, capacity, headDim]);
  };
  return {
    mask,
    distances: () => g.scope("distances", () => distanceOf(g, g.unsqueeze(columns, [0]), g.unsqueeze(positions, [2]))),
    update(layer, fresh) {
      const pool = { key: write(layer, "key", fresh.key), value: write(layer, "value", fresh.value) };
      pools[layer] = pool;
      return { key: read(layer, pool.key), value: read(layer, pool.value) };
    },
    finish() {
      for (const [layer, { key, value }] of pools.entries()) {
        g.output(key, `cache_key_${layer}_out`);
        g.output(value, `cache_value_${layer}_out`);
      }
    },
  };
}

/** Where each new token of each head goes, int64 [batch, kv_heads, seq, 3]: block, head, place in the block. */
function slotsOf(g: GraphBuilder, table: Value, positions: Value, kvHeads: number, tokensPerBlock: number): Value {
  const size = g.int64s([tokensPerBlock]);
  const index = g.divide(positions, size);
  const place = g.subtract(positions, g.multiply(index, size));
  const [batch, seq] = positions.shape as [Dim, Dim];
  const block = g.cast(
    g.node("GatherElements", [table, index], { dtype: "int32", shape: positions.shape }, { axis: { int: 1 } }),
    "int64",
  );
  const heads = g.reshape(g.int64s([...Array(kvHeads).keys()]), [1, kvHeads, 1]);
  const shape = g.concat([g.sizeOf(positions, 0), g.int64s([kvHeads]), g.sizeOf(positions, 1)], 0);
  const each = (x: Value): Value => g.unsqueeze(g.expand(x, shape, [batch, kvHeads, seq]), [3]);
  return g.concat([each(g.unsqueeze(block, [1])), each(heads), each(g.unsqueeze(place, [1]))], 3);
}
