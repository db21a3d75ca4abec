import { fail, type Problem, throwIfAny } from "../diagnostics/index.ts";
import { f32ToF16, type StoredTensor } from "../tensor/index.ts";
import { cutShort, type FilePool, type SourceFile } from "./file.ts";
import { badGguf, type GgufTensorInfo, type GgufValue, readGgufHeader, show } from "./gguf/header.ts";
import { type Decode, GGML_TYPES, type GgmlType } from "./gguf/types.ts";
import { checkRows, placeOf, plainTensor } from "./stored.ts";

export type { GgufValue } from "./gguf/header.ts";

/** A GGUF file under its own names and in its own row order. */
export interface Gguf {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

const MAX_PROBLEMS = 20;

/**
 * Reads the header. F32, F16, BF16 and integers are served as they are; quantized tensors (Q8_0, Q4_0, Q4_1, Q5_0, Q5_1,
 * Q4_K, Q5_K, Q6_K) as float16: dequantized in float32 exactly as ggml, then rounded.
 * Errors: CKP001–CKP005, CKP011 another type, CKP016.
 */
export async function openGgufFile(pool: FilePool, path: string): Promise<Gguf> {
  const file = await pool.open(path);
  const { metadata, tensors: infos, dataStart, alignment } = await readGgufHeader(file);
  const tensors = new Map<string, StoredTensor>();
  const problems: Problem[] = [];
  let end = dataStart;
  const aligned = (at: number): number => dataStart + Math.ceil((at - dataStart) / alignment) * alignment;
  for (const info of [...infos].sort((a, b) => a.offset - b.offset)) {
    const offset = dataStart + info.offset;
    const type = GGML_TYPES[info.type];
    const problem = type ? misfit(file, info, type, offset, aligned(end)) : unknownType(file, info);
    if (problem) problems.push(problem);
    if (problem || !type) continue;
    if (tensors.has(info.name)) fail(badGguf(path, info.at, `tensor ${show(info.name)} comes twice`));
    tensors.set(info.name, storedTensor(file, info, type, offset));
    end = offset + packedBytes(info, type);
  }
  throwIfAny(problems.slice(0, MAX_PROBLEMS));
  // A count of tensors that is too small shifts the data of all of them.
  if (tensors.size > 0 && file.size > aligned(end))
    fail(badGguf(path, end, `${file.size - aligned(end)} bytes after the last tensor belong to nothing`));
  return { path, metadata, tensors };
}

function storedTensor(file: SourceFile, info: GgufTensorInfo, type: GgmlType, offset: number): StoredTensor {
  const { name, shape } = info;
  if (type.dtype)
    return plainTensor(file, name, type.dtype, shape, { file: file.path, offset, length: packedBytes(info, type) });
  const decode = type.decode as Decode;
  const width = shape.at(-1) ?? 1;
  const perRow = shape.slice(1).reduce((product, size) => product * size, 1);
  const rowBytes = (perRow / type.blockSize) * type.blockBytes;
  return {
    name,
    dtype: "float16",
    shape,
    at: placeOf(file, offset),
    readRows: async (start, end) => {
      checkRows(name, shape, start, end);
      const packed = await file.read(offset + start * rowBytes, (end - start) * rowBytes);
      return decodeToHalf(packed, (end - start) * perRow, width, type, decode);
    },
  };
}

/** One row of blocks at a time through a float32 buffer that stays in the cache. */
function decodeToHalf(packed: Uint8Array, elements: number, width: number, type: GgmlType, decode: Decode): Uint8Array {
  const out = new Uint16Array(elements);
  const row = new Float32Array(width);
  const bytes = (width / type.blockSize) * type.blockBytes;
  for (let done = 0, from = 0; done < elements; done += width, from += bytes) {
    decode(packed.subarray(from, from + bytes), row);
    f32ToF16(row, out.subarray(done, done + width));
  }
  return new Uint8Array(out.buffer);
}

function packedBytes({ shape }: GgufTensorInfo, { blockSize, blockBytes }: GgmlType): number {
  return (shape.reduce((product, size) => product * size, 1) / blockSize) * blockBytes;
}

function misfit(
  file: SourceFile,
  info: GgufTensorInfo,
  type: GgmlType,
  offset: number,
  next: number,
): Problem | undefined {
  const width = info.shape.at(-1) ?? 1;
  const bad = (message: string): Problem => badGguf(file.path, info.at, `tensor ${show(info.name)} ${message}`);
  if (info.shape.includes(0)) return bad("has no elements");
  if (type.decode && info.shape.length < 2) return bad(`is a vector packed as ${type.name}; only matrices are packed`);
  if (width % type.blockSize !== 0) return bad(`has rows of ${width}; ${type.name} packs blocks of ${type.blockSize}`);
  if (offset < next) return bad(`at byte ${offset} overlaps the one before it, after which byte ${next} is free`);
  if (offset > next) return bad(`at byte ${offset} leaves a hole from byte ${next}`);
  if (offset + packedBytes(info, type) <= file.size) return undefined;
  return cutShort(file.path, offset, packedBytes(info, type), file.size);
}

function unknownType(file: SourceFile, info: GgufTensorInfo): Problem {
  const known = Object.values(GGML_TYPES).map(type => type.name);
  return {
    code: "CKP011",
    what: `tensor ${show(info.name)} has ggml type ${info.type}; readable: ${known.join(", ")}`,
    at: `${file.path}, byte ${info.at}`,
    why: "each type packs its numbers in its own way",
    fix: "use a file quantized to one of these (Q8_0 or Q4_K_M are common), or the original checkpoint",
  };
}
