import { fail, type Problem } from "../../diagnostics/index.ts";
import { type Cursor, parseGrowing } from "../cursor.ts";
import { cutShort, type SourceFile } from "../file.ts";
import { countElements } from "../stored.ts";

/** Integers beyond 2^53 come as bigint. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

export interface GgufTensorInfo {
  readonly name: string;
  /** Outermost first, the reverse of the file's order. */
  readonly shape: readonly number[];
  /** ggml's number of the type. */
  readonly type: number;
  /** From the start of the data. */
  readonly offset: number;
  /** Byte of the file where it is described. */
  readonly at: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensorInfo[];
  /** Byte where the data begins. */
  readonly dataStart: number;
  /** Each tensor begins at a multiple of it, counted from there. */
  readonly alignment: number;
}

/** Real headers have up to 15 MB, nearly all of it the vocabulary. */
const MAX_HEADER = 48 << 20;
/** The largest vocabularies have 260 000 tokens with scores and types, and 520 000 merges. */
const MAX_ELEMENTS = 2_500_000;
const MAX_ARRAY_DEPTH = 4;
/** Real files have some 50 keys and at most some thousand tensors. */
const MAX_KEYS = 100_000;
const MAX_TENSORS = 100_000;
/** GGML_MAX_DIMS */
const MAX_AXES = 4;

/** Layout: "GGUF", version, counts, key–value pairs, tensor infos, padding to the alignment, data. Errors: CKP005, CKP016. */
export function readGgufHeader(file: SourceFile): Promise<GgufHeader> {
  return parseGrowing(
    file,
    0,
    MAX_HEADER,
    cursor => new HeaderParser(file, cursor).header(),
    ({ at, needed }, limit) => {
      if (limit === file.size) fail(cutShort(file.path, at, needed, file.size));
      fail(badGguf(file.path, at, `the header is larger than ${MAX_HEADER} bytes`));
    },
  );
}

class HeaderParser {
  readonly #file: SourceFile;
  readonly #cursor: Cursor;
  #elements = 0;

  constructor(file: SourceFile, cursor: Cursor) {
    this.#file = file;
    this.#cursor = cursor;
  }

  header(): GgufHeader {
    const c = this.#cursor;
    if (Buffer.from(c.bytes(4)).toString("latin1") !== "GGUF") this.#fail(0, 'the file does not begin with "GGUF"');
    const version = c.u32();
    if (version >= 0x01000000) this.#fail(4, "the file is big-endian");
    if (version !== 2 && version !== 3) this.#fail(4, `version ${version} is not 2 or 3`);
    const tensorCount = this.#count("tensors", MAX_TENSORS);
    const pairCount = this.#count("keys", MAX_KEYS);
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < pairCount; i++) this.#pair(metadata);
    const tensors: GgufTensorInfo[] = [];
    for (let i = 0; i < tensorCount; i++) tensors.push(this.#tensor());
    const alignment = metadata.get("general.alignment") ?? 32;
    if (typeof alignment !== "number" || !Number.isInteger(alignment) || alignment < 1 || alignment > 1 << 20) {
      this.#fail(0, `general.alignment is ${String(alignment)}`);
    }
    return { metadata, tensors, dataStart: Math.ceil(c.at / alignment) * alignment, alignment };
  }

  #count(what: string, limit: number): number {
    const at = this.#cursor.at;
    const count = this.#cursor.u64();
    if (count > BigInt(limit)) this.#fail(at, `the header counts ${count} ${what}; at most ${limit} are read`);
    return Number(count);
  }

  #pair(metadata: Map<string, GgufValue>): void {
    const at = this.#cursor.at;
    const key = this.#text();
    if (metadata.has(key)) this.#fail(at, `the key ${show(key)} comes twice`);
    metadata.set(key, this.#value(this.#cursor.u32(), 0));
  }

  #value(type: number, depth: number): GgufValue {
    const c = this.#cursor;
    switch (type) {
      case 0:
        return c.u8();
      case 1:
        return c.i8();
      case 2:
        return c.u16();
      case 3:
        return c.i16();
      case 4:
        return c.u32();
      case 5:
        return c.i32();
      case 6:
        return c.f32();
      case 7:
        return c.u8() !== 0;
      case 8:
        return this.#text();
      case 9:
        return this.#array(depth + 1);
      case 10:
        return shrink(c.u64());
      case 11:
        return shrink(c.i64());
      case 12:
        return c.f64();
      default:
        return this.#fail(c.at - 4, `a value has type ${type}, which does not exist`);
    }
  }

  #array(depth: number): GgufValue[] {
    const at = this.#cursor.at;
    const type = this.#cursor.u32();
    const count = this.#cursor.u64();
    this.#elements += Number(count);
    if (this.#elements > MAX_ELEMENTS || depth > MAX_ARRAY_DEPTH) {
      this.#fail(at, `an array of ${count} values, nested ${depth} deep, is larger than any model needs`);
    }
    const values: GgufValue[] = [];
    for (let i = 0; i < Number(count); i++) values.push(this.#value(type, depth));
    return values;
  }

  #text(): string {
    const c = this.#cursor;
    const at = c.at;
    const length = c.u64();
    if (length > BigInt(this.#file.size)) this.#fail(at, `a text of ${length} bytes is longer than the file`);
    return c.text(Number(length));
  }

  #tensor(): GgufTensorInfo {
    const c = this.#cursor;
    const at = c.at;
    const name = this.#text();
    const axes = c.u32();
    if (axes > MAX_AXES) this.#fail(at, `tensor ${show(name)} has ${axes} axes; at most ${MAX_AXES} are possible`);
    const shape: number[] = [];
    for (let i = 0; i < axes; i++) shape.unshift(Number(c.u64()));
    if (countElements(shape) === undefined)
      this.#fail(at, `tensor ${show(name)} has more elements than can be counted`);
    const type = c.u32();
    return { name, shape, type, offset: Number(c.u64()), at };
  }

  #fail(at: number, message: string): never {
    fail(badGguf(this.#file.path, at, message));
  }
}

export function badGguf(path: string, at: number, message: string): Problem {
  return {
    code: "CKP016",
    what: `not a usable GGUF file: ${message}`,
    at: `${path}, byte ${at}`,
    why: "the header says where each weight lies and how it is packed",
    fix: "download the file again; files of version 1 or big-endian ones must be converted with llama.cpp first",
  };
}

export function show(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}

function shrink(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}
