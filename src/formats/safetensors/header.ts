import { fail, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import { byteLength, DTYPES, type Dtype, dtypeOfSafetensors, type Shape, showShape } from "../../tensor/index.ts";
import { cutShort, FilePool, type SourceFile } from "../file.ts";
import { isJsonObject, type Json, type JsonObject, parseJsonBytes } from "../json.ts";
import { countElements } from "../stored.ts";

/** A tensor of a safetensors file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
  /** Absolute byte offset in the file. */
  readonly offset: number;
  readonly length: number;
}

export interface SafetensorsHeader {
  /** In the order of the data. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Byte where the data begins: 8 + header length. */
  readonly dataStart: number;
}

/** Half of the format's own limit: 500 bytes for each of 100 000 tensors. Real headers have up to 2 MB. */
const MAX_HEADER = 50_000_000;
/** The largest models have some thousand tensors in a file and 100 000 in all files; each takes a kilobyte here. */
const MAX_TENSORS = 100_000;
/** The tensor, dtype, shape with four sizes, offsets with two. */
const MAX_VALUES = MAX_TENSORS * 10;
/** PyTorch's own limit. */
const MAX_AXES = 64;
/** A damaged header would otherwise give a problem for each of thousands of tensors. */
const MAX_PROBLEMS = 20;

/** Where each tensor's bytes lie, by name: what ONNX external data points at. Errors: CKP001–CKP006, CKP008, CKP010, CKP011. */
export async function dataOffsetOf(path: string): Promise<ReadonlyMap<string, TensorEntry>> {
  const pool = new FilePool();
  try {
    return (await readHeader(await pool.open(path))).entries;
  } finally {
    await pool.close();
  }
}

/** Layout: uint64 little-endian length N, N bytes of JSON, then the tensors' bytes. */
export async function readHeader(file: SourceFile): Promise<SafetensorsHeader> {
  if (file.size < 8) fail(badHeader(file, `the file has ${file.size} bytes, fewer than the 8 of the header length`));
  const length = await readLength(file);
  const dataStart = 8 + length;
  const bytes = await file.read(8, length);
  if (bytes[0] !== 0x7b) fail(badHeader(file, "the header does not begin with '{'"));
  const json = parseJsonBytes(bytes, `${file.path} (header)`, { maxBytes: MAX_HEADER, maxValues: MAX_VALUES });
  if (!isJsonObject(json)) fail(badHeader(file, "the header is not a JSON object"));
  const { __metadata__, ...described } = json;
  const count = Object.keys(described).length;
  if (count > MAX_TENSORS) fail(badHeader(file, `it describes ${count} tensors; at most ${MAX_TENSORS} are read`));
  const problems: Problem[] = [];
  const entries = Object.entries(described).flatMap(([name, value]) => {
    const entry = readEntry(file, name, value, dataStart);
    if (!("code" in entry)) return [entry];
    problems.push(entry);
    return [];
  });
  entries.sort((a, b) => a.offset - b.offset || a.length - b.length);
  // Offsets of the others cannot be judged when one entry is unreadable: its bytes would look like a hole.
  if (problems.length === 0) problems.push(...layoutProblems(file, entries, dataStart));
  throwIfAny(problems.slice(0, MAX_PROBLEMS));
  return { entries: new Map(entries.map(e => [e.name, e])), metadata: readMetadata(file, __metadata__), dataStart };
}

async function readLength(file: SourceFile): Promise<number> {
  const raw = Buffer.from(await file.read(0, 8)).readBigUInt64LE();
  if (raw > BigInt(MAX_HEADER) || raw === 0n)
    fail(badHeader(file, `the header length is ${raw}; 1 to ${MAX_HEADER} is possible`));
  const length = Number(raw);
  if (8 + length > file.size) fail(cutShort(file.path, 8, length, file.size));
  return length;
}

function readEntry(file: SourceFile, name: string, value: Json, dataStart: number): TensorEntry | Problem {
  if (!isJsonObject(value)) return badTensor(file, name, "is not described by an object");
  const dtype = typeof value.dtype === "string" ? dtypeOfSafetensors(value.dtype) : undefined;
  if (dtype === undefined) return unknownDtype(file, name, value.dtype);
  const shape = value.shape;
  const elements = Array.isArray(shape) && shape.length <= MAX_AXES ? countElements(shape) : undefined;
  if (elements === undefined) return badTensor(file, name, `has shape ${show(shape)}, which is not a list of sizes`);
  const offsets = value.data_offsets;
  if (!isOffsets(offsets)) return badTensor(file, name, `has data_offsets ${show(offsets)}, which is not [begin, end]`);
  const [begin, end] = offsets;
  const length = byteLength(dtype, [elements]);
  if (end - begin !== length) {
    return badTensor(
      file,
      name,
      `has ${end - begin} bytes, but ${dtype} ${showShape(shape as number[])} takes ${length}`,
    );
  }
  return { name, dtype, shape: shape as number[], offset: dataStart + begin, length };
}

/** The data must be covered exactly: no overlap (two tensors of the same bytes), no hole (bytes nobody checks), nothing after. */
function layoutProblems(file: SourceFile, entries: readonly TensorEntry[], dataStart: number): Problem[] {
  const problems: Problem[] = [];
  let end = dataStart;
  for (const entry of entries) {
    if (entry.offset < end)
      problems.push(
        badTensor(file, entry.name, `overlaps the tensor before it, which ends at byte ${end}`, entry.offset),
      );
    if (entry.offset > end)
      problems.push(
        badTensor(file, entry.name, `begins at byte ${entry.offset} and leaves a hole from byte ${end}`, end),
      );
    end = Math.max(end, entry.offset + entry.length);
  }
  const last = entries.at(-1);
  if (end > file.size && last)
    problems.push({
      ...cutShort(file.path, last.offset, end - last.offset, file.size),
      at: `${last.name} in ${file.path}, byte ${last.offset}`,
    });
  if (end < file.size)
    problems.push(
      badHeader(file, `${file.size - end} bytes after the last tensor (from byte ${end}) belong to nothing`),
    );
  return problems;
}

function readMetadata(file: SourceFile, value: Json | undefined): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value)) fail(badHeader(file, "__metadata__ is not an object of strings"));
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") fail(badHeader(file, `__metadata__ key ${show(key)} is not a string`));
  }
  return value as Record<string, string>;
}

function isOffsets(value: JsonObject[string] | undefined): value is readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2) return false;
  return value.every(v => Number.isSafeInteger(v) && v >= 0) && value[0] <= value[1];
}

export interface TensorDescription {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/** The bytes before the data for tensors stored in the order given, and where each of them will lie. */
export function encodeHeader(
  tensors: readonly TensorDescription[],
  metadata: Readonly<Record<string, string>> = {},
): { readonly header: Uint8Array; readonly entries: ReadonlyMap<string, TensorEntry> } {
  const json: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  const lengths = tensors.map(t => byteLength(t.dtype, t.shape));
  let end = 0;
  tensors.forEach((tensor, i) => {
    const begin = end;
    end += lengths[i] as number;
    json.push([tensor.name, { dtype: spelling(tensor.dtype), shape: storedShape(tensor), data_offsets: [begin, end] }]);
  });
  if (new Set(json.map(([name]) => name)).size !== json.length)
    throw new Error("two tensors of one safetensors file have the same name");
  // fromEntries would reorder names that look like integers; the header keeps the order of the data.
  const text = `{${json.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
  const raw = Buffer.from(text, "utf8");
  // Spaces up to a multiple of 8 keep the data aligned for readers that map the file.
  const header = Buffer.alloc(8 + Math.ceil(raw.byteLength / 8) * 8, " ");
  header.writeBigUInt64LE(BigInt(header.byteLength - 8));
  raw.copy(header, 8);
  const entries = new Map<string, TensorEntry>();
  let offset = header.byteLength;
  tensors.forEach(({ name, dtype, shape }, i) => {
    const length = lengths[i] as number;
    entries.set(name, { name, dtype, shape, offset, length });
    offset += length;
  });
  return { header, entries };
}

/** int4 has no spelling of its own: two to a byte, stored as int8 with the last axis halved. */
function spelling(dtype: Dtype): string {
  return DTYPES[dtype].safetensors ?? "I8";
}

function storedShape({ dtype, shape }: TensorDescription): Shape {
  return dtype === "int4" ? [...shape.slice(0, -1), Math.ceil((shape.at(-1) ?? 1) / 2)] : shape;
}

function badHeader(file: SourceFile, message: string): Problem {
  return {
    code: "CKP006",
    what: `not a usable safetensors header: ${message}`,
    at: `${file.path}, byte 0`,
    why: "a safetensors file begins with 8 bytes of header length and a JSON object that describes the rest",
    fix: "check that this is a safetensors file, and download it again",
  };
}

function badTensor(file: SourceFile, name: string, message: string, offset = 8): Problem {
  return {
    code: "CKP010",
    what: `tensor ${name.slice(0, 200)} ${message}`,
    at: `${file.path}, byte ${offset}`,
    why: "dtype, shape and offsets must agree, or the weights read would be other bytes than the model's",
    fix: "download the file again; if that does not help, save the checkpoint again",
  };
}

function unknownDtype(file: SourceFile, name: string, dtype: Json | undefined): Problem {
  const known = Object.values(DTYPES).flatMap(info => info.safetensors ?? []);
  return {
    code: "CKP011",
    what: `tensor ${name.slice(0, 200)} has dtype ${show(dtype)}; readable: ${known.join(", ")}`,
    at: `${file.path}, byte 8`,
    why: "the bytes cannot be turned into weights without knowing their type",
    fix: "save the checkpoint with one of these types",
  };
}

function show(value: Json | undefined): string {
  return (JSON.stringify(value) ?? "missing").slice(0, 200);
}
