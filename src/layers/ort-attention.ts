import { ORT_DOMAIN } from "../graph/dialect.ts";
import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import type { RopeFrequencies } from "./rope-scaling.ts";
import type { HeadSizes, SelfAttention } from "./self-attention.ts";

/** Largest table of angles that is put into a graph, in elements of cos or sin: 4 MB. */
const LARGEST_TABLE = 1 << 20;

export interface OrtAttention extends HeadSizes {
  readonly scale: number;
  /** Tokens a row of the static cache has room for. */
  readonly capacity: number;
  /** Of a layer; undefined where nothing is rotated. */
  rope(layer: number): RopeFrequencies | undefined;
}

/** Whether the kernel takes heads of this size, and angles that depend on the position alone. */
export function hasOrtAttention(headDim: number, capacity: number, ropes: readonly RopeFrequencies[]): boolean {
  const takes = ({ frequencies, beyond }: RopeFrequencies): boolean =>
    beyond === undefined && frequencies.length % 8 === 0 && frequencies.length * capacity <= LARGEST_TABLE;
  return headDim % 16 === 0 && ropes.every(takes);
}

/**
 * Rotation, the write into a static cache and attention as ONNX Runtime's GroupQueryAttention: one node a layer on the product
 * for q, k, v as it is. A row's new tokens follow its `cache_lengths`, and positions are their columns. Where a cache's output
 * is given its input's memory, the tokens are written there and nothing is copied. The kernel takes several tokens of several rows only
 * where nothing is cached.
 */
export function ortSelfAttention(g: GraphBuilder, positionIds: Value, attention: OrtAttention): SelfAttention {
  const { heads, kvHeads, headDim, capacity, scale } = attention;
  const lengths = g.input("cache_lengths", "int32", ["batch"]);
  const { last, total } = g.scope("lengths", () => {
    const seq = g.cast(g.sizeOf(positionIds, 1), "int32");
    const most = g.node("ReduceMax", [lengths], { dtype: "int32", shape: [1] }, { keepdims: { int: 1 } });
    return { last: g.add(lengths, g.subtract(seq, g.int32s([1], [1]))), total: g.add(most, seq) };
  });
  const updated: (readonly [Value, Value])[] = [];
  return {
    attend(layer, qkv) {
      const cache = (part: string): Value =>
        g.input(`cache_${part}_${layer}`, "float32", ["batch", kvHeads, capacity, headDim]);
      const [key, value] = [cache("key"), cache("value")];
      const rope = attention.rope(layer);
      const tables = rope === undefined ? [] : tablesOf(g, rope, capacity);
      const [y, ...both] = g.nodes(
        "GroupQueryAttention",
        [qkv, undefined, undefined, key, value, last, total, ...tables],
        [{ dtype: "float32", shape: [dimOf(qkv, 0), dimOf(qkv, 1), heads * headDim] }, key, value],
        {
          num_heads: { int: heads },
          kv_num_heads: { int: kvHeads },
          scale: { float: scale },
          do_rotary: { int: rope === undefined ? 0 : 1 },
        },
        ORT_DOMAIN,
      ) as [Value, Value, Value];
      updated[layer] = both as unknown as readonly [Value, Value];
      return y;
    },
    finish() {
      for (const [layer, [key, value]] of updated.entries()) {
        g.output(key, `cache_key_${layer}_out`);
        g.output(value, `cache_value_${layer}_out`);
      }
    },
  };
}

/** cos and sin of every position that the cache has room for, [capacity, d / 2], in the float32 steps of `ropeTables`. */
function tablesOf(g: GraphBuilder, { frequencies, attentionFactor }: RopeFrequencies, capacity: number): Value[] {
  const half = frequencies.length;
  const table = (of: (angle: number) => number): Value => {
    const values = Float32Array.from({ length: capacity * half }, (_, i) => {
      const angle = Math.fround(Math.floor(i / half) * (frequencies[i % half] as number));
      return attentionFactor * Math.fround(of(angle));
    });
    return g.floats(values, [capacity, half], "float32");
  };
  return [table(Math.cos), table(Math.sin)];
}
