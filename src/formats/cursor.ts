import type { SourceFile } from "./file.ts";

/** Thrown by a Cursor that runs out of bytes; never leaves `formats/`: `parseGrowing` turns it into more bytes or a problem. */
export class Overrun extends Error {
  readonly at: number;
  readonly needed: number;

  constructor(at: number, needed: number) {
    super(`${needed} bytes needed at byte ${at}`);
    this.at = at;
    this.needed = needed;
  }
}

/** Little-endian reads over bytes in memory, with the position in the file for messages. */
export class Cursor {
  readonly #bytes: Buffer;
  readonly #base: number;
  #pos = 0;

  /** `base` is the file offset of the first byte. */
  constructor(bytes: Uint8Array, base = 0) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#base = base;
  }

  /** Offset in the file. */
  get at(): number {
    return this.#base + this.#pos;
  }

  get left(): number {
    return this.#bytes.byteLength - this.#pos;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  i8(): number {
    return this.#bytes.readInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }

  i16(): number {
    return this.#bytes.readInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  i32(): number {
    return this.#bytes.readInt32LE(this.#take(4));
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64LE(this.#take(8));
  }

  i64(): bigint {
    return this.#bytes.readBigInt64LE(this.#take(8));
  }

  f32(): number {
    return this.#bytes.readFloatLE(this.#take(4));
  }

  f64(): number {
    return this.#bytes.readDoubleLE(this.#take(8));
  }

  f64be(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  /** A view, not a copy. */
  bytes(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** UTF-8, with U+FFFD for what is none. */
  text(length: number): string {
    const start = this.#take(length);
    return this.#bytes.toString("utf8", start, start + length);
  }

  /** Bytes up to a line feed, which is taken too. */
  line(): Uint8Array {
    const end = this.#bytes.indexOf(0x0a, this.#pos);
    if (end < 0) throw new Overrun(this.at, this.left + 1);
    const line = this.bytes(end - this.#pos);
    this.#pos++;
    return line;
  }

  #take(length: number): number {
    if (length > this.left) throw new Overrun(this.at, length);
    const start = this.#pos;
    this.#pos += length;
    return start;
  }
}

const FIRST_WINDOW = 1 << 20;

/**
 * Parses a header whose length is written nowhere: from `offset` with 1 MB of the file, and again with eight times as much
 * while `parse` runs out, up to `maxBytes`. `overrun` gives the problem when that is not enough.
 */
export async function parseGrowing<T>(
  file: SourceFile,
  offset: number,
  maxBytes: number,
  parse: (cursor: Cursor) => T,
  overrun: (error: Overrun, limit: number) => never,
): Promise<T> {
  const limit = Math.min(maxBytes, file.size - offset);
  for (let window = Math.min(FIRST_WINDOW, limit); ; window = Math.min(window * 8, limit)) {
    const cursor = new Cursor(await file.read(offset, window), offset);
    try {
      return parse(cursor);
    } catch (error) {
      if (!(error instanceof Overrun)) throw error;
      if (window === limit) overrun(error, limit);
    }
  }
}
