import { f32ToF16 } from "../../tensor/index.ts";
import type { OrtGraph, Tensor } from "../ort.ts";
import { toFloat32 } from "../ort.ts";
import type { Collective } from "./cut.ts";

/** What every rank gets when the ranks' tensors, in order, meet at a collective. */
export function combine(graph: OrtGraph, kind: Collective["kind"], shares: readonly Tensor[]): Tensor {
  const [first] = shares as readonly [Tensor];
  const odd = shares.find(({ type, dims }) => type !== first.type || String(dims) !== String(first.dims));
  if (odd !== undefined) throw new Error(`ranks meet with ${first.type} [${first.dims}] and ${odd.type} [${odd.dims}]`);
  return kind === "all_reduce" ? sum(graph, shares) : stack(graph, shares);
}

/** Added in float64 and rounded once, so that the order of the ranks makes no difference. */
function sum(graph: OrtGraph, shares: readonly Tensor[]): Tensor {
  const [first] = shares as readonly [Tensor];
  const parts = shares.map(toFloat32);
  const total = new Float32Array(parts[0]?.length ?? 0);
  for (let i = 0; i < total.length; i++) {
    let value = 0;
    for (const part of parts) value += part[i] as number;
    total[i] = value;
  }
  if (first.type === "float32") return graph.tensor("float32", total, first.dims);
  const half = new Uint16Array(total.length);
  f32ToF16(total, half);
  return graph.tensor("float16", half, first.dims);
}

/** One after the other on the first axis. */
function stack(graph: OrtGraph, shares: readonly Tensor[]): Tensor {
  const [first] = shares as readonly [Tensor];
  const [rows = 1, ...rest] = first.dims;
  const bits = shares.map(({ data }) => data as Float32Array | Uint16Array);
  const length = bits.reduce((total, { length }) => total + length, 0);
  const all = first.type === "float32" ? new Float32Array(length) : new Uint16Array(length);
  let offset = 0;
  for (const part of bits) {
    all.set(first.type === "float32" ? part : halves(part), offset);
    offset += part.length;
  }
  return graph.tensor(first.type === "float32" ? "float32" : "float16", all, [rows * shares.length, ...rest]);
}

/** Float16 values come as Uint16Array, or as Float16Array from a Node that has one: the bits of both. */
function halves({ buffer, byteOffset, length }: Float32Array | Uint16Array): Uint16Array {
  return new Uint16Array(buffer, byteOffset, length);
}
