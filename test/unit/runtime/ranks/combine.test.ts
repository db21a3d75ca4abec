import { Tensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import type { OrtGraph } from "../../../../src/runtime/ort.ts";
import { combine } from "../../../../src/runtime/ranks/combine.ts";
import { f16ToF32, f32ToF16 } from "../../../../src/tensor/index.ts";

const graph = {
  tensor: (type: "float32", data: Float32Array, dims: readonly number[]) => new Tensor(type, data, dims),
} as unknown as OrtGraph;
const floats = (values: readonly number[], dims: readonly number[]): Tensor =>
  new Tensor("float32", Float32Array.from(values), dims);
const halves = (values: readonly number[], dims: readonly number[]): Tensor => {
  const bits = new Uint16Array(values.length);
  f32ToF16(Float32Array.from(values), bits);
  return new Tensor("float16", bits, dims);
};
const wide = ({ data }: Tensor): number[] => {
  const { buffer, byteOffset, length } = data as Uint16Array;
  const out = new Float32Array(length);
  f16ToF32(new Uint16Array(buffer, byteOffset, length), out);
  return [...out];
};

describe("a meeting of ranks", () => {
  it("adds with one rounding, whatever the order of the ranks", () => {
    const shares = [floats([1e8, 1], [1, 2]), floats([1, 2], [1, 2]), floats([-1e8, 3], [1, 2])];
    expect([...(combine(graph, "all_reduce", shares).data as Float32Array)]).toEqual([1, 6]);
    expect([...(combine(graph, "all_reduce", [...shares].reverse()).data as Float32Array)]).toEqual([1, 6]);
  });

  it("adds halves beyond their own precision and rounds to it at the end", () => {
    const sum = combine(graph, "all_reduce", [halves([2048], [1]), halves([1], [1]), halves([1], [1])]);
    expect([sum.type, wide(sum)]).toEqual(["float16", [2050]]);
  });

  it("puts shares one after the other on the first axis", () => {
    const gathered = combine(graph, "all_gather", [floats([1, 2, 3], [1, 3]), floats([4, 5, 6], [1, 3])]);
    expect([gathered.dims, [...(gathered.data as Float32Array)]]).toEqual([
      [2, 3],
      [1, 2, 3, 4, 5, 6],
    ]);
    const half = combine(graph, "all_gather", [halves([1.5], [1, 1]), halves([-2], [1, 1])]);
    expect([half.dims, wide(half)]).toEqual([
      [2, 1],
      [1.5, -2],
    ]);
  });

  it("refuses shares of two shapes", () => {
    expect(() => combine(graph, "all_reduce", [floats([1], [1]), floats([1, 2], [2])])).toThrow(
      /float32 \[1\] and float32 \[2\]/,
    );
  });
});
