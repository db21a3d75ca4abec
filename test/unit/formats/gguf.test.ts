import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FilePool } from "../../../src/formats/file.ts";
import { openGgufFile } from "../../../src/formats/gguf.ts";
import { openSafetensors } from "../../../src/formats/safetensors.ts";
import { contents, FIXTURES, problemsOf, put, tempDir } from "./fixtures.ts";

const pool = new FilePool();
afterAll(() => pool.close());

/** A GGUF file by hand: keys of one type each, tensor infos, then data. */
function ggufBytes(parts: { version?: number; tensors?: number; keys?: number; body?: Buffer }): Buffer {
  const head = Buffer.alloc(24);
  head.write("GGUF");
  head.writeUInt32LE(parts.version ?? 3, 4);
  head.writeBigUInt64LE(BigInt(parts.tensors ?? 0), 8);
  head.writeBigUInt64LE(BigInt(parts.keys ?? 0), 16);
  return Buffer.concat([head, parts.body ?? Buffer.alloc(0)]);
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function text(value: string): Buffer {
  return Buffer.concat([u64(BigInt(Buffer.byteLength(value))), Buffer.from(value)]);
}

function info(name: string, sizes: readonly bigint[], type: number, offset: bigint): Buffer {
  return Buffer.concat([text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset)]);
}

describe("GGUF blocks", () => {
  it.each([1, 2, 3])("dequantizes every type to gguf-py's bits, %i rows at a time", async band => {
    const gguf = await openGgufFile(pool, join(FIXTURES, "types.gguf"));
    const expected = await contents((await openSafetensors(pool, join(FIXTURES, "types.safetensors"))).tensors);
    expect(await contents(gguf.tensors, band)).toEqual(expected);
    expect(Object.keys(expected)).toHaveLength(11);
  });
});

/** A key with a value of one type. */
function key(name: string, type: number, value: Buffer): Buffer {
  return Buffer.concat([text(name), u32(type), value]);
}

describe("GGUF headers", () => {
  it("have values of every type, whole numbers beyond 2^53 kept exactly", async () => {
    const f64 = Buffer.alloc(8);
    f64.writeDoubleLE(-0.1);
    const values: readonly (readonly [number, Buffer, unknown])[] = [
      [0, Buffer.of(200), 200],
      [1, Buffer.of(200), -56],
      [2, Buffer.of(0x10, 0xff), 0xff10],
      [3, Buffer.of(0x10, 0xff), -240],
      [4, u32(4_000_000_000), 4_000_000_000],
      [5, u32(4_000_000_000), -294_967_296],
      [7, Buffer.of(0), false],
      [8, text("a"), "a"],
      [9, Buffer.concat([u32(9), u64(1n), u32(0), u64(2n), Buffer.of(1, 19)]), [[1, 19]]],
      [10, u64(989n), 989],
      [10, u64(2n ** 53n + 1n), 2n ** 53n + 1n],
      [11, u64(2n ** 64n - 19n), -19],
      [12, f64, -0.1],
    ];
    const body = Buffer.concat(values.map(([type, bytes], i) => key(`k${i}`, type, bytes)));
    const file = await put(await tempDir(), "m.gguf", ggufBytes({ keys: values.length, body }));
    const { metadata } = await openGgufFile(pool, file);
    expect([...metadata.values()]).toEqual(values.map(([, , value]) => value));
  });

  it.each<[string, Buffer]>([
    ["text", key("general.alignment", 8, text("32"))],
    ["0", key("general.alignment", 4, u32(0))],
    ["2^21", key("general.alignment", 4, u32(2 ** 21))],
    ["half a byte more than one", key("general.alignment", 6, u32(0x3fc00000))],
    ["no number at all", key("general.alignment", 6, u32(0x7fc00000))],
  ])("may not have an alignment of %s", async (_, body) => {
    const dir = await tempDir();
    const file = await put(dir, "m.gguf", ggufBytes({ keys: 1, body }));
    expect(await problemsOf(() => openGgufFile(pool, file))).toMatch(/CKP016 .*alignment/);
  });

  it.each([
    ["another magic number", Buffer.from("GGML0000000000000000000000"), /CKP016 .*does not begin with "GGUF"/],
    ["version 1", ggufBytes({ version: 1 }), /CKP016 .*version 1 is not 2 or 3/],
    ["big-endian order", ggufBytes({ version: 0x03000000 }), /CKP016 .*big-endian/],
    ["more keys than any model has", ggufBytes({ keys: 2 ** 40 }), /CKP016 .*counts 1099511627776 keys/],
    [
      "a text longer than the file",
      ggufBytes({ keys: 1, body: Buffer.concat([u64(1n << 60n), Buffer.alloc(13)]) }),
      /CKP016 .*longer than the file/,
    ],
    [
      "an array of more values than any model has",
      ggufBytes({ keys: 1, body: Buffer.concat([text("k"), u32(9), u32(0), u64(1n << 62n)]) }),
      /CKP016 .*an array of 4611686018427387904 values/,
    ],
    [
      "a value type that does not exist",
      ggufBytes({ keys: 1, body: Buffer.concat([text("k"), u32(77)]) }),
      /CKP016 .*type 77/,
    ],
    [
      "a key twice",
      ggufBytes({ keys: 2, body: Buffer.concat([text("k"), u32(7), Buffer.of(1), text("k"), u32(7), Buffer.of(1)]) }),
      /CKP016 .*"k" comes twice/,
    ],
    [
      "sizes whose product overflows",
      ggufBytes({ tensors: 1, body: info("w", [1n << 40n, 1n << 40n], 0, 0n) }),
      /CKP016 .*more elements than can be counted/,
    ],
    ["five axes", ggufBytes({ tensors: 1, body: info("w", [1n, 1n, 1n, 1n, 1n], 0, 0n) }), /CKP016 .*5 axes/],
    [
      "rows that blocks do not divide",
      ggufBytes({ tensors: 1, body: Buffer.concat([info("w", [33n, 2n], 2, 0n), Buffer.alloc(99)]) }),
      /CKP016 .*rows of 33; Q4_0 packs blocks of 32/,
    ],
    [
      "a type that is not read",
      ggufBytes({ tensors: 1, body: Buffer.concat([info("w", [256n, 2n], 10, 0n), Buffer.alloc(999)]) }),
      /CKP011 .*"w" has ggml type 10; readable: F32/,
    ],
    [
      "data that is not there",
      ggufBytes({ tensors: 1, body: Buffer.concat([info("w", [1000n], 0, 0n), Buffer.alloc(99)]) }),
      /CKP005 .*4000 bytes are expected/,
    ],
    [
      "two tensors over the same bytes",
      ggufBytes({
        tensors: 2,
        body: Buffer.concat([info("a", [8n], 0, 0n), info("b", [8n], 0, 16n), Buffer.alloc(200)]),
      }),
      /CKP016 .*"b" at byte \d+ overlaps/,
    ],
  ])("are refused with %s", async (_, bytes, expected) => {
    const dir = await tempDir();
    expect(await problemsOf(async () => openGgufFile(pool, await put(dir, "x.gguf", bytes)))).toMatch(expected);
  });

  it("name the byte where a cut file ends", async () => {
    const dir = await tempDir();
    const whole = await readFile(join(FIXTURES, "llama.gguf"));
    const cut = await put(dir, "cut.gguf", whole.subarray(0, 2000));
    expect(await problemsOf(() => openGgufFile(pool, cut))).toMatch(/CKP005 .*ends at byte 2000/);
  });
});
