import { addDims, type Dim, multiplyDims } from "../graph/dim.ts";
import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { attention, mergeHeads, splitHeads } from "./attention.ts";
import { encoderAttention, pluginSegmentAttention } from "./fused/bert-attention.ts";

/** Which rows see each other: those of one segment. */
export interface Segments {
  /** Where segments begin, ascending from 0, and where the last one ends: int32 [segments + 1]. */
  readonly starts: Value;
  /** The most rows of a segment, where that is known: rows are then gathered segment by segment, and cost no square of all rows. */
  readonly longest?: number;
}

/** q, k, v [1, rows, width], heads side by side. */
export interface PackedAttention {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly heads: number;
  /** Factor of q · k. */
  readonly scale: number;
}

/** Segments that are longer are no fewer products than all rows of a usual picture. */
const MOST_GATHERED = 4096;

type Attend = (call: PackedAttention) => Value;

/**
 * softmax(scale · q · kᵀ) · v by heads within segments of packed rows, [1, rows, width], for all layers that have these segments: what
 * depends on them alone is computed once. One node a layer where the graph has it.
 */
export function packedAttention(g: GraphBuilder, { starts, longest }: Segments): Attend {
  let standard: Attend | undefined;
  return call => {
    const node = pluginSegmentAttention(g, call, starts, (b, own, of) => maskedAttention(b, of, own.q)(own));
    if (node !== undefined) return node;
    standard ??=
      longest === undefined || longest > MOST_GATHERED
        ? maskedAttention(g, starts, call.q)
        : gatheredAttention(g, starts, longest, call.q);
    return standard(call);
  };
}

/** Every row with every other, those of other segments hidden. */
function maskedAttention(g: GraphBuilder, starts: Value, rows: Value): Attend {
  const mask = g.scope("segments", () => {
    const { segment } = placesOf(g, starts, rows);
    return g.unsqueeze(g.equal(g.unsqueeze(segment, [1]), g.unsqueeze(segment, [0])), [0, 1]);
  });
  return ({ q, k, v, heads, scale }) => {
    const split = (x: Value): Value => splitHeads(g, x, heads, (dimOf(q, 2) as number) / heads);
    return mergeHeads(g, attention(g, split(q), split(k), split(v), scale, mask));
  };
}

/** Segments as a batch of `longest` rows each, the last row of a shorter one repeated and hidden. */
function gatheredAttention(g: GraphBuilder, starts: Value, longest: number, rows: Value): Attend {
  const { segments, lengths, from, back } = g.scope("segments", () => {
    const { segment, row } = placesOf(g, starts, rows);
    const [begin, end] = [cut(g, starts, 0, -1), cut(g, starts, 1, LAST)];
    const column = g.int32s([...Array(longest).keys()], [1, longest]);
    const last = g.unsqueeze(g.subtract(end, g.int32(1)), [1]);
    const place = g.subtract(row, g.gather(begin, segment));
    return {
      segments: dimOf(begin, 0),
      lengths: g.subtract(end, begin),
      from: g.minimum(g.add(g.unsqueeze(begin, [1]), column), last),
      back: g.add(g.multiply(segment, g.int32(longest)), place),
    };
  });
  return ({ q, k, v, heads, scale }) => {
    const width = dimOf(q, 2);
    const batched = (x: Value): Value => g.reshape(g.gather(x, from, 1), [segments, longest, width]);
    const y = encoderAttention(g, { q: batched(q), k: batched(k), v: batched(v), heads, scale, lengths });
    return g.gather(g.reshape(y, [1, multiplyDims(segments, longest), width]), back, 1);
  };
}

/** Of each row its number and the number of its segment, which so many begin at or before, less one: both int32 [rows]. */
function placesOf(g: GraphBuilder, starts: Value, rows: Value): { readonly segment: Value; readonly row: Value } {
  const row = g.cast(g.range(g.sizeOf(rows, 1), dimOf(rows, 1)), "int32");
  const begun = g.cast(g.lessOrEqual(g.unsqueeze(starts, [0]), g.unsqueeze(row, [1])), "int32");
  return { segment: g.subtract(g.sumLast(begun), g.int32(1)), row };
}

/** To the end, in ONNX's words. */
const LAST = Number.MAX_SAFE_INTEGER;

/** All but one of a list of unknown length. */
function cut(g: GraphBuilder, x: Value, start: number, end: number): Value {
  const shape: Dim[] = [addDims(dimOf(x, 0), -1)];
  return g.node("Slice", [x, g.int64s([start]), g.int64s([end]), g.int64s([0])], { dtype: x.dtype, shape });
}
