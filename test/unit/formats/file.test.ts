import { mkdir, readdir, truncate } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { FilePool } from "../../../src/formats/file.ts";
import { problemsOf, put, tempDir } from "./fixtures.ts";

let pool = new FilePool();
afterEach(async () => {
  await pool.close();
  pool = new FilePool();
});

describe("files of a checkpoint", () => {
  it("are refused with what is wrong: missing, a directory, empty, a Git LFS pointer", async () => {
    const dir = await tempDir();
    expect(await problemsOf(() => pool.open(join(dir, "none.bin")))).toMatch(/CKP001 .*none\.bin does not exist/);
    await mkdir(join(dir, "folder.bin"));
    expect(await problemsOf(() => pool.open(join(dir, "folder.bin")))).toMatch(/CKP002 .*not a regular file/);
    const empty = await put(dir, "empty.bin", "");
    expect(await problemsOf(() => pool.open(empty))).toMatch(/CKP003 .*is empty/);
    const pointer = await put(
      dir,
      "model.safetensors",
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 13476851408\n",
    );
    expect(await problemsOf(() => pool.open(pointer))).toMatch(
      /CKP004 .*pointer of 136 bytes; the real file has 13476851408/,
    );
  });

  it("give a problem with the byte when they are cut while being read", async () => {
    const path = await put(await tempDir(), "shrinking.bin", Buffer.alloc(5000, 7));
    const file = await pool.open(path);
    expect((await file.read(4990, 10)).every(byte => byte === 7)).toBe(true);
    await truncate(path, 4000);
    expect(await problemsOf(() => file.read(3000, 2000))).toMatch(
      /CKP005 .*ends at byte 4000, but 2000 bytes are expected from byte 3000/,
    );
  });

  it("refuse a length from a header before memory is taken for it", async () => {
    const file = await pool.open(await put(await tempDir(), "small.bin", "abc"));
    for (const [offset, length] of [
      [0, 2 ** 52],
      [2, 2],
      [-1, 1],
      [0, Number.NaN],
    ] as const) {
      expect(await problemsOf(() => file.read(offset, length))).toMatch(/CKP005/);
    }
  });

  it("take few descriptors, however many are read at once", async () => {
    const dir = await tempDir();
    const paths = await Promise.all(Array.from({ length: 200 }, (_, i) => put(dir, `${i}.bin`, Buffer.of(i, i))));
    const files = await Promise.all(paths.map(path => pool.open(path)));
    for (let round = 0; round < 2; round++) {
      const bytes = await Promise.all(files.map(file => file.read(1, 1)));
      expect(bytes.map(b => b[0])).toEqual(files.map((_, i) => i));
    }
    if (process.platform === "linux") expect((await readdir("/proc/self/fd")).length).toBeLessThan(120);
  });
});
