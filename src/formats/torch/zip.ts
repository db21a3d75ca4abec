import { crc32 } from "node:zlib";
import { fail } from "../../diagnostics/index.ts";
import { Cursor, Overrun } from "../cursor.ts";
import type { SourceFile } from "../file.ts";

/** An entry that is stored as it is. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes of the entry. */
  readonly size: number;
  /** Where its local header lies; the data follow that header. */
  readonly headerOffset: number;
  /** CRC-32 of its bytes; 0 where torch was told not to compute them. */
  readonly crc: number;
}

/** End record (22 bytes) and the longest comment after it. */
const MAX_TAIL = 22 + 0xffff;
/** A directory record has at least 46 bytes; the largest shards list some thousand tensors. */
const MAX_DIRECTORY = 64 << 20;
const MAX_32 = 0xffffffff;

/** The entries by name. Refuses what torch never writes: compression, encryption, several disks. Errors: CKP012, CKP005. */
export async function readZip(file: SourceFile): Promise<ReadonlyMap<string, ZipEntry>> {
  const { offset, size, count } = await findDirectory(file);
  if (size > MAX_DIRECTORY || offset + size > file.size)
    badZip(file, offset, `its directory of ${size} bytes does not fit the file`);
  const cursor = new Cursor(await file.read(offset, size), offset);
  const entries = new Map<string, ZipEntry>();
  guard(file, () => {
    for (let i = 0; i < count; i++) {
      const entry = readRecord(file, cursor);
      if (entries.has(entry.name)) badZip(file, cursor.at, `it holds ${show(entry.name)} twice`);
      entries.set(entry.name, entry);
    }
  });
  return entries;
}

/** The first byte of an entry's data: the local header's name and extra field have lengths of their own. */
export async function entryOffset(file: SourceFile, entry: ZipEntry): Promise<number> {
  if (entry.headerOffset + 30 > file.size) badZip(file, entry.headerOffset, `${show(entry.name)} begins after the end`);
  const header = new Cursor(await file.read(entry.headerOffset, 30), entry.headerOffset);
  if (header.u32() !== 0x04034b50) badZip(file, entry.headerOffset, `${show(entry.name)} has no local header`);
  header.bytes(22);
  const offset = entry.headerOffset + 30 + header.u16() + header.u16();
  if (offset + entry.size > file.size)
    badZip(file, offset, `${show(entry.name)} of ${entry.size} bytes reaches past the end`);
  return offset;
}

/** The whole of a small entry, its bytes as they were written. Errors: CKP012. */
export async function readEntry(file: SourceFile, entry: ZipEntry): Promise<Cursor> {
  const offset = await entryOffset(file, entry);
  const bytes = await file.read(offset, entry.size);
  if (entry.crc !== 0 && crc32(bytes) !== entry.crc)
    badZip(file, offset, `${show(entry.name)} has other bytes than were written: its checksum differs`);
  return new Cursor(bytes, offset);
}

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

async function findDirectory(file: SourceFile): Promise<Directory> {
  const length = Math.min(file.size, MAX_TAIL);
  const tail = await file.read(file.size - length, length);
  const at = Buffer.from(tail.buffer).lastIndexOf("PK\x05\x06", undefined, "latin1");
  if (at < 0 || at + 22 > length) badZip(file, file.size, "the end of the archive is missing: the file was cut short");
  const cursor = new Cursor(tail.subarray(at), file.size - length + at);
  cursor.bytes(10);
  const count = cursor.u16();
  const size = cursor.u32();
  const offset = cursor.u32();
  if (count < 0xffff && size < MAX_32 && offset < MAX_32) return { offset, size, count };
  return findDirectory64(file, file.size - length + at - 20);
}

async function findDirectory64(file: SourceFile, locatorAt: number): Promise<Directory> {
  if (locatorAt < 0) badZip(file, 0, "the zip64 end of the archive is missing");
  const locator = new Cursor(await file.read(locatorAt, 20), locatorAt);
  if (locator.u32() !== 0x07064b50) badZip(file, locatorAt, "the zip64 end of the archive is missing");
  locator.u32();
  const recordAt = Number(locator.u64());
  if (recordAt + 56 > file.size) badZip(file, locatorAt, "the zip64 end of the archive lies outside the file");
  const record = new Cursor(await file.read(recordAt, 56), recordAt);
  if (record.u32() !== 0x06064b50) badZip(file, recordAt, "the zip64 end of the archive is damaged");
  record.bytes(28);
  const count = Number(record.u64());
  const size = Number(record.u64());
  return { count, size, offset: Number(record.u64()) };
}

function readRecord(file: SourceFile, cursor: Cursor): ZipEntry {
  const at = cursor.at;
  if (cursor.u32() !== 0x02014b50) badZip(file, at, "its directory is damaged");
  cursor.bytes(4);
  const flags = cursor.u16();
  const method = cursor.u16();
  cursor.bytes(4);
  const crc = cursor.u32();
  const compressed = cursor.u32();
  const size = cursor.u32();
  const nameLength = cursor.u16();
  const extraLength = cursor.u16();
  const commentLength = cursor.u16();
  cursor.bytes(8);
  const headerOffset = cursor.u32();
  const name = Buffer.from(cursor.bytes(nameLength)).toString("utf8");
  const wide = readWide(new Cursor(cursor.bytes(extraLength), cursor.at), [size, compressed, headerOffset]);
  cursor.bytes(commentLength);
  if (flags & 1) badZip(file, at, `${show(name)} is encrypted`);
  if (method !== 0 || wide[0] !== wide[1])
    badZip(file, at, `${show(name)} is compressed; torch.save stores entries as they are`);
  return { name, size: wide[0], headerOffset: wide[2], crc };
}

/** Values of 0xffffffff stand in the zip64 extra field (id 1) as 8 bytes each, in the order size, compressed, offset. */
function readWide(extra: Cursor, values: readonly [number, number, number]): [number, number, number] {
  const out: [number, number, number] = [...values];
  while (extra.left >= 4) {
    const id = extra.u16();
    const field = new Cursor(extra.bytes(extra.u16()), extra.at);
    if (id === 1) for (let i = 0; i < 3; i++) if (out[i] === MAX_32) out[i] = Number(field.u64());
  }
  return out;
}

function guard(file: SourceFile, read: () => void): void {
  try {
    read();
  } catch (error) {
    if (error instanceof Overrun) badZip(file, error.at, "its directory ends in the middle of a record");
    throw error;
  }
}

export function badZip(file: SourceFile, at: number, message: string): never {
  fail({
    code: "CKP012",
    what: `not a usable PyTorch archive: ${message}`,
    at: `${file.path}, byte ${at}`,
    why: "torch.save writes a zip archive of uncompressed entries: data.pkl and one entry for each storage",
    fix: "download the file again, or save the weights again with torch.save or as safetensors",
  });
}

function show(name: string): string {
  return JSON.stringify(name.slice(0, 200));
}
