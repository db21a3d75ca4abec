import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { FilePool } from "../../../src/formats/file.ts";
import { openSafetensors, writeTogether } from "../../../src/formats/safetensors.ts";
import {
  cast,
  fromStored,
  named,
  type StoredTensor,
  sliceColumns,
  type TensorRecipe,
} from "../../../src/tensor/index.ts";
import { tempDir } from "./fixtures.ts";

const ROWS = 989;
const COLUMNS = 57;
const RANKS = [
  [0, 19],
  [19, 38],
  [38, 57],
] as const;

/** A float32 matrix in a file, element (r, c) = r · 64 + c. */
async function storedMatrix(dir: string, pool: FilePool): Promise<StoredTensor> {
  const file = join(dir, "source");
  const values = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => Math.floor(i / COLUMNS) * 64 + (i % COLUMNS));
  await writeFile(file, Buffer.concat([Buffer.alloc(3), new Uint8Array(values.buffer)]));
  const source = await pool.open(file);
  return {
    name: "w",
    dtype: "float32",
    shape: [ROWS, COLUMNS],
    at: file,
    range: { file, offset: 3, length: values.byteLength },
    readRows: (start, end) => source.read(3 + start * COLUMNS * 4, (end - start) * COLUMNS * 4),
  };
}

async function valuesOf(path: string, pool: FilePool): Promise<number[]> {
  const tensor = (await openSafetensors(pool, path)).tensors.get("w");
  const bytes = (await tensor?.readRows(0, ROWS)) ?? new Uint8Array(0);
  return tensor?.dtype === "float32"
    ? [...new Float32Array(bytes.slice().buffer)]
    : [...new Uint16Array(bytes.slice().buffer)].map(
        bits => new Float32Array(Uint32Array.of(bits << 16).buffer)[0] as number,
      );
}

const expectedOf = ([start, end]: readonly [number, number]): number[] =>
  Array.from({ length: ROWS }, (_, r) => Array.from({ length: end - start }, (_, c) => r * 64 + start + c)).flat();

describe("ranks written side by side", () => {
  const pool = new FilePool();
  afterEach(() => vi.restoreAllMocks());

  it("get their columns of a stored matrix from one read of it", async () => {
    const dir = await tempDir();
    const whole = fromStored(await storedMatrix(dir, pool));
    const files = RANKS.map(([start, end], i) => ({
      path: join(dir, `rank${i}`),
      recipes: [named("w", sliceColumns(whole, start, end))],
    }));
    const read = vi.spyOn(FilePool.prototype, "readIntoHere");
    await writeTogether(files);
    const bytes = read.mock.calls.reduce((sum, [, target]) => sum + target.byteLength, 0);
    expect(bytes).toBe(ROWS * COLUMNS * 4);
    for (const [i, rank] of RANKS.entries())
      expect(await valuesOf(join(dir, `rank${i}`), pool)).toEqual(expectedOf(rank));
  });

  it("share a cast of it as well", async () => {
    const dir = await tempDir();
    const stored = await storedMatrix(dir, pool);
    const asked: number[] = [];
    const counted: StoredTensor = {
      ...stored,
      readRows: (start, end) => {
        asked.push(end - start);
        return stored.readRows(start, end);
      },
    };
    const whole = cast(fromStored(counted), "bfloat16");
    const files = RANKS.map(([start, end], i) => ({
      path: join(dir, `rank${i}`),
      recipes: [named("w", sliceColumns(whole, start, end))],
    }));
    await writeTogether(files);
    expect(asked.reduce((sum, rows) => sum + rows, 0)).toBe(ROWS);
    for (const [i, rank] of RANKS.entries()) {
      const rounded = expectedOf(rank).map(value => roundToBfloat16(value));
      expect(await valuesOf(join(dir, `rank${i}`), pool)).toEqual(rounded);
    }
  });

  it("get the same file where they hold the same tensor, and files of their own lengths", async () => {
    const dir = await tempDir();
    const whole = fromStored(await storedMatrix(dir, pool));
    const extra: TensorRecipe = {
      name: "x",
      dtype: "uint8",
      shape: [19],
      sources: [],
      readRows: async (start, end) => Uint8Array.from({ length: end - start }, (_, i) => start + i),
    };
    const [a, b] = [join(dir, "a"), join(dir, "b")];
    const written = await writeTogether([
      { path: a, recipes: [whole] },
      { path: b, recipes: [whole, extra] },
    ]);
    expect(await valuesOf(a, pool)).toEqual(expectedOf([0, COLUMNS]));
    expect(await valuesOf(b, pool)).toEqual(expectedOf([0, COLUMNS]));
    expect((await readFile(b)).subarray(-19)).toEqual(Buffer.from(Array.from({ length: 19 }, (_, i) => i)));
    expect(written.map(({ bytes }) => bytes)).toEqual([(await readFile(a)).byteLength, (await readFile(b)).byteLength]);
  });

  it("leave no file at all when one of them fails", async () => {
    const dir = await tempDir();
    const whole = fromStored(await storedMatrix(dir, pool));
    const broken = { ...whole, readRows: () => Promise.reject(new Error("broken source")) };
    const { ranges: _, ...computed } = broken;
    const files = [
      { path: join(dir, "a"), recipes: [whole] },
      { path: join(dir, "b"), recipes: [computed] },
    ];
    await expect(writeTogether(files)).rejects.toThrow("broken source");
    for (const name of ["a", "b", "a.partial", "b.partial"])
      await expect(readFile(join(dir, name))).rejects.toThrow("ENOENT");
  });
});

/** To nearest, ties to even, on the upper 16 bits. */
function roundToBfloat16(value: number): number {
  const [bits = 0] = new Uint32Array(Float32Array.of(value).buffer);
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0] as number;
}
