import { describe, expect, it } from "vitest";
import { bufferOf, type SourceFile } from "../../../src/formats/file.ts";
import { isContiguous, stridedTensor } from "../../../src/formats/torch/strided.ts";

/** A file of `size` bytes in which byte i is a hash of i, and which counts what is read of it. */
function hashedFile(size: number): SourceFile & { largest: number; total: number } {
  const file = {
    path: "memory",
    size,
    largest: 0,
    total: 0,
    read: async (offset: number, length: number) => {
      expect(offset + length).toBeLessThanOrEqual(size);
      file.largest = Math.max(file.largest, length);
      file.total += length;
      const bytes = bufferOf(length);
      for (let i = 0; i < length; i++) bytes[i] = hash(offset + i);
      return bytes;
    },
    readInto: () => Promise.reject(new Error("not used")),
  };
  return file;
}

const hash = (i: number): number => (Math.imul(i, 2654435761) >>> 13) & 255;

describe("strided tensors", () => {
  it("of 48 MB are gathered from spans of at most 8 MB, each read once a band", async () => {
    const [rows, columns] = [4001, 6007];
    const file = hashedFile(rows * columns * 2 + 10);
    const tensor = stridedTensor(file, "w", "float16", { shape: [rows, columns], strides: [1, rows], offset: 10 });
    const bytes = await tensor.readRows(1, rows - 1);
    expect(file.largest).toBeLessThanOrEqual(8 << 20);
    expect(file.total).toBeLessThanOrEqual(file.size);
    for (const [row, column] of [
      [1, 0],
      [1, columns - 1],
      [19, 989],
      [rows - 2, 0],
      [rows - 2, columns - 1],
    ] as const) {
      const at = ((row - 1) * columns + column) * 2;
      const from = 10 + (row + column * rows) * 2;
      expect([bytes[at], bytes[at + 1]]).toEqual([hash(from), hash(from + 1)]);
    }
    expect(bytes.byteLength).toBe((rows - 2) * columns * 2);
  });

  it("whose one step is wider than a span are read in parts", async () => {
    const strides = [3, 30_000_000, 1];
    const file = hashedFile(60_000_100);
    const tensor = stridedTensor(file, "w", "uint8", { shape: [19, 2, 2], strides, offset: 0 });
    const expected = Array.from({ length: 19 * 4 }, (_, i) =>
      hash(Math.floor(i / 4) * 3 + (Math.floor(i / 2) % 2) * 30_000_000 + (i % 2)),
    );
    expect(Array.from(await tensor.readRows(0, 19))).toEqual(expected);
    expect(file.largest).toBeLessThan(1000);
  });

  it.each([
    [[3, 4], [4, 1], true],
    [[3, 4], [1, 3], false],
    [[1, 4], [99, 1], true],
    [[4, 1], [1, 7], true],
    [[2, 3, 4], [12, 4, 1], true],
    [[2, 3, 4], [24, 4, 1], false],
    [[0, 4], [7, 7], true],
    [[], [], true],
  ])("of sizes %j and strides %j are contiguous: %j", (shape, strides, expected) => {
    expect(isContiguous({ shape, strides })).toBe(expected);
  });
});
