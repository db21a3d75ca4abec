import type { Value } from "../graph/graph.ts";
import { dimOf, type GraphBuilder } from "../graph/ops.ts";
import { linear } from "./linear.ts";
import type { WeightSource } from "./weights.ts";

/** Attention within windows of size² patches, the grid moved by `shift` before. */
export interface WindowSizes {
  readonly size: number;
  readonly shift: number;
  readonly heads: number;
  readonly qkvBias: boolean;
}

/**
 * Multi-head attention of each window on itself, with a learned bias by offset: x [batch, height, width, c] → the same.
 * Sides that windows do not fill are padded with zeros, which take part as any patch does. Shifted windows hold patches
 * from opposite edges of the grid, and those do not see each other (−100 on the score, as Hugging Face has it).
 */
export function windowAttention(g: GraphBuilder, w: WeightSource, x: Value, name: string, sizes: WindowSizes): Value {
  const [, height, width, c] = x.shape as [string, number, number, number];
  const { size, shift } = sizes;
  const [high, wide] = [height, width].map(side => Math.ceil(side / size) * size) as [number, number];
  const full = high === height && wide === width ? x : g.pad(x, [0, 0, 0, 0], [0, high - height, wide - width, 0]);
  const windows = partition(g, roll(g, full, shift), size);
  const mixed = attendWithin(g, w, windows, name, sizes, shift === 0 ? undefined : regions(high, wide, size, shift));
  const joined = roll(g, reverse(g, mixed, high, wide, size), -shift);
  const rows = high === height ? joined : g.slice(joined, 1, 0, height);
  const kept = wide === width ? rows : g.slice(rows, 2, 0, width);
  return linear(g, w, kept, `${name}.output.dense`, { in: c, out: c, bias: true });
}

/** 2 × 2 neighbours side by side (top left, bottom left, top right, bottom right), zeros beyond an odd edge: [batch, ⌈h/2⌉, ⌈w/2⌉, 4c]. */
export function mergeNeighbours(g: GraphBuilder, x: Value): Value {
  const [batch, height, width, c] = x.shape as [string, number, number, number];
  const [high, wide] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const odd = [2 * high - height, 2 * wide - width] as const;
  const full = odd[0] + odd[1] === 0 ? x : g.pad(x, [0, 0, 0, 0], [0, odd[0], odd[1], 0]);
  const folded = g.transpose(g.reshape(full, [batch, high, 2, wide, 2, c]), [0, 1, 3, 4, 2, 5]);
  return g.reshape(folded, [batch, high, wide, 4 * c]);
}

/** Row and column `shift` become the first; a negative shift is the way back. x [batch, h, w, c]. */
function roll(g: GraphBuilder, x: Value, shift: number): Value {
  if (shift === 0) return x;
  let y = x;
  for (const axis of [1, 2]) {
    const length = dimOf(x, axis) as number;
    const cut = shift > 0 ? shift : length + shift;
    y = g.concat([g.slice(y, axis, cut, length), g.slice(y, axis, 0, cut)], axis);
  }
  return y;
}

/** [batch, h, w, c] → [batch, windows, size², c]. */
function partition(g: GraphBuilder, x: Value, size: number): Value {
  const [batch, h, w, c] = x.shape as [string, number, number, number];
  const cut = g.transpose(g.reshape(x, [batch, h / size, size, w / size, size, c]), [0, 1, 3, 2, 4, 5]);
  return g.reshape(cut, [batch, (h * w) / size ** 2, size ** 2, c]);
}

function reverse(g: GraphBuilder, x: Value, h: number, w: number, size: number): Value {
  const c = dimOf(x, 3) as number;
  const batch = dimOf(x, 0);
  const cut = g.transpose(g.reshape(x, [batch, h / size, w / size, size, size, c]), [0, 1, 3, 2, 4, 5]);
  return g.reshape(cut, [batch, h, w, c]);
}

function attendWithin(
  g: GraphBuilder,
  w: WeightSource,
  x: Value,
  name: string,
  { size, heads, qkvBias }: WindowSizes,
  regionOf: Int32Array | undefined,
): Value {
  const [batch, windows, n, c] = x.shape as [string, number, number, number];
  const headDim = c / heads;
  const byHead = (part: string): Value => {
    const y = linear(g, w, x, `${name}.self.${part}`, { in: c, out: c, bias: qkvBias });
    return g.transpose(g.reshape(y, [batch, windows, n, heads, headDim]), [0, 1, 3, 2, 4]);
  };
  const [q, k, v] = ["query", "key", "value"].map(byHead) as [Value, Value, Value];
  const scaled = g.multiply(q, g.scalar(headDim ** -0.5, q.dtype));
  const scores = g.add(g.matmul(scaled, g.transpose(k, [0, 1, 2, 4, 3])), offsetBias(g, w, name, size, heads));
  const visible = regionOf === undefined ? scores : g.add(scores, shiftMask(g, regionOf, windows, n, scores));
  const mixed = g.matmul(g.softmaxLast(visible), v);
  return g.reshape(g.transpose(mixed, [0, 1, 3, 2, 4]), [batch, windows, n, c]);
}

/** The table's row of each pair of patches in a window: [1, 1, heads, size², size²]. */
function offsetBias(g: GraphBuilder, w: WeightSource, name: string, size: number, heads: number): Value {
  const rows = (2 * size - 1) ** 2;
  const table = w.get(g, `${name}.self.relative_position_bias_table`, [rows, heads]);
  const index = g.int32s([...offsetIndex(size)], [size ** 2, size ** 2]);
  return g.unsqueeze(g.transpose(g.gather(table, index), [2, 0, 1]), [0, 1]);
}

/** (Δy + size − 1) · (2 size − 1) + Δx + size − 1 for query patch i and key patch j. */
function offsetIndex(size: number): Int32Array {
  const n = size ** 2;
  return Int32Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    const dy = Math.floor(i / size) - Math.floor(j / size);
    return (dy + size - 1) * (2 * size - 1) + (i % size) - (j % size) + size - 1;
  });
}

/** −100 between patches of different regions: [1, windows, 1, n, n], computed from one number a patch. */
function shiftMask(g: GraphBuilder, regionOf: Int32Array, windows: number, n: number, like: Value): Value {
  const region = g.int32s([...regionOf], [windows, n]);
  const same = g.equal(g.unsqueeze(region, [1]), g.unsqueeze(region, [2]));
  const mask = g.where(same, g.scalar(0, like.dtype), g.scalar(-100, like.dtype));
  return g.unsqueeze(mask, [0, 2]);
}

/** Which of nine regions each patch of the shifted grid came from, window by window. */
function regions(height: number, width: number, size: number, shift: number): Int32Array {
  const part = (at: number, length: number): number => Number(at >= length - size) + Number(at >= length - shift);
  const out: number[] = [];
  for (let top = 0; top < height; top += size)
    for (let left = 0; left < width; left += size)
      for (let i = 0; i < size ** 2; i++)
        out.push(3 * part(top + Math.floor(i / size), height) + part(left + (i % size), width));
  return Int32Array.from(out);
}
