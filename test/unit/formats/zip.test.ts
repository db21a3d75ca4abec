import { crc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { SourceFile } from "../../../src/formats/file.ts";
import { openTorchFile } from "../../../src/formats/torch/container.ts";
import { StorageRef, TensorRef } from "../../../src/formats/torch/objects.ts";
import { readEntry, readZip } from "../../../src/formats/torch/zip.ts";

function inMemory(bytes: Buffer): SourceFile {
  return {
    path: "model.bin",
    size: bytes.length,
    read: async (offset, length) => Uint8Array.from(bytes.subarray(offset, offset + length)),
    readInto: async (target, offset) => void target.set(bytes.subarray(offset, offset + target.length)),
  };
}

type Field = readonly [bytes: 2 | 4 | 8, value: number];

function fields(list: readonly Field[]): Buffer {
  return Buffer.concat(
    list.map(([bytes, value]) => {
      const field = Buffer.alloc(8);
      field.writeBigUInt64LE(BigInt(value));
      return field.subarray(0, bytes);
    }),
  );
}

const MAX_32 = 0xffffffff;

interface Zip {
  /** Sizes and offsets stand in the zip64 records alone. */
  readonly wide?: boolean;
  /** Writes over the finished zip64 record or locator. */
  readonly spoil?: (parts: { record: Buffer; locator: Buffer }) => void;
}

/** An archive of stored entries, as torch.save writes it. */
function zip(entries: Readonly<Record<string, string>>, { wide = false, spoil }: Zip = {}): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const [name, text] of Object.entries(entries)) {
    const data = Buffer.from(text, "latin1");
    const extra = wide
      ? fields([
          [2, 7],
          [2, 2],
          [2, 989],
          [2, 1],
          [2, 24],
          [8, data.length],
          [8, data.length],
          [8, at],
        ])
      : Buffer.alloc(0);
    const size = wide ? MAX_32 : data.length;
    const head: readonly Field[] = [
      [2, 0],
      [2, 0],
      [4, 0],
      [4, crc32(data)],
      [4, size],
      [4, size],
      [2, name.length],
    ];
    const local = Buffer.concat([fields([[4, 0x04034b50], [2, 20], ...head, [2, 0]]), Buffer.from(name), data]);
    const place: readonly Field[] = [
      [2, extra.length],
      [2, 0],
      [2, 0],
      [2, 0],
      [4, 0],
      [4, wide ? MAX_32 : at],
    ];
    directory.push(fields([[4, 0x02014b50], [2, 20], [2, 20], ...head, ...place]), Buffer.from(name), extra);
    locals.push(local);
    at += local.length;
  }
  const [body, records] = [Buffer.concat(locals), Buffer.concat(directory)];
  const count = Object.keys(entries).length;
  const record = fields([
    [4, 0x06064b50],
    [8, 44],
    [4, 0],
    [8, 0],
    [8, count],
    [8, count],
    [8, records.length],
    [8, at],
  ]);
  const locator = fields([
    [4, 0x07064b50],
    [4, 0],
    [8, at + records.length],
    [4, 1],
  ]);
  spoil?.({ record, locator });
  const end = fields([
    [4, 0x06054b50],
    [4, 0],
    [2, count],
    [2, count],
    [4, wide ? MAX_32 : records.length],
    [4, at],
    [2, 0],
  ]);
  return Buffer.concat([body, records, ...(wide ? [record, locator] : []), end]);
}

/** The pickle of an empty dict. */
const EMPTY = "\x80\x02}.";
const FILES = { "m/data.pkl": EMPTY, "m/byteorder": "little", "m/data/0": "12345678" };

describe("archives", () => {
  it.each([false, true])("give their entries by name, zip64 records or not (%s)", async wide => {
    const file = inMemory(zip(FILES, { wide }));
    const entries = await readZip(file);
    expect([...entries.keys()]).toEqual(Object.keys(FILES));
    const data = entries.get("m/data/0");
    expect(data && (await readEntry(file, data)).text(8)).toBe("12345678");
  });

  it.each<[string, (parts: { record: Buffer; locator: Buffer }) => void]>([
    ["the zip64 end of the archive is missing", ({ locator }) => void locator.writeUInt32LE(7)],
    ["the zip64 end of the archive lies outside the file", ({ locator }) => void locator.writeUInt32LE(1e6, 8)],
    ["the zip64 end of the archive is damaged", ({ record }) => void record.writeUInt32LE(7)],
    ["its directory of \\d+ bytes does not fit the file", ({ record }) => void record.writeUInt32LE(1e6, 40)],
  ])("are refused: %s", async (message, spoil) => {
    const file = inMemory(zip(FILES, { wide: true, spoil }));
    await expect(readZip(file)).rejects.toThrow(new RegExp(`CKP012.*${message}`, "s"));
  });

  it("of an end record alone that points to a zip64 end have none", async () => {
    const end = zip({}).subarray(-22);
    end.writeUInt32LE(MAX_32, 12);
    await expect(readZip(inMemory(end))).rejects.toThrow(/CKP012.*zip64 end of the archive is missing/s);
  });
});

describe("PyTorch archives", () => {
  const storage = new StorageRef("0", "float32", 2, 0);
  const user = new TensorRef(storage, "float32", 0, [2], [1], 989);

  it("place a storage, and refuse one that is missing or smaller than its tensor's pickle says", async () => {
    const file = await openTorchFile(inMemory(zip(FILES)));
    const larger = new StorageRef("0", "float32", 3, 0);
    expect(
      zip(FILES)
        .subarray(await file.locate(storage, user))
        .toString("latin1"),
    ).toMatch(/^12345678/);
    await expect(file.locate(larger, user)).rejects.toThrow(/CKP015.*has 8 bytes; 12 are needed.*byte 989/s);
    await expect(file.locate(new StorageRef("1", "float32", 2, 0), user)).rejects.toThrow(
      /CKP012.*storage 1.*missing/s,
    );
  });

  it.each<[string, Readonly<Record<string, string>>]>([
    ["CKP012.*a TorchScript program", { ...FILES, "m/constants.pkl": EMPTY }],
    ["CKP012.*holds no data.pkl", { "m/data/0": "1" }],
    ["CKP012.*byte order is .*big", { ...FILES, "m/byteorder": "big" }],
    ["CKP013.*ends in the middle", { ...FILES, "m/data.pkl": "\x80\x02}" }],
  ])("are refused: %s", async (message, entries) => {
    await expect(openTorchFile(inMemory(zip(entries)))).rejects.toThrow(new RegExp(message, "s"));
  });

  it("from before PyTorch 0.1.10 are told from files that are no weights at all", async () => {
    const tar = Buffer.alloc(512);
    tar.write("ustar", 257, "latin1");
    await expect(openTorchFile(inMemory(tar))).rejects.toThrow(/CKP012.*a tar archive/s);
    await expect(openTorchFile(inMemory(Buffer.alloc(512)))).rejects.toThrow(
      /CKP012.*neither a zip archive nor a pickle/s,
    );
  });
});
