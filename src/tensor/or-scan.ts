/** The part of the global that is used here; TypeScript has it only among the types of browsers. */
declare const WebAssembly: {
  readonly Memory: new (limits: { readonly initial: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, unknown>> };
};

/**
 * OR over all 32-bit words of (word & mask) + unit, by WebAssembly SIMD: four words an instruction, where a JavaScript loop
 * takes a nanosecond a word and would be a third of the time of a copy. Used to look at every weight that passes by.
 */
export class OrScanner {
  /** Chunks in this buffer are scanned where they are; others are copied into it first. */
  readonly buffer: Uint8Array;
  readonly #scan: (pointer: number, bytes: number, mask: number, unit: number) => number;

  constructor(bytes: number) {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE) });
    this.buffer = new Uint8Array(memory.buffer, 0, bytes);
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(MODULE), { m: { m: memory } });
    this.#scan = exports.s as (pointer: number, bytes: number, mask: number, unit: number) => number;
  }

  /** The OR over the whole 16-byte blocks of `chunk`, and how many bytes those are. */
  scan(chunk: Uint8Array, mask: number, unit: number): { readonly bits: number; readonly bytes: number } {
    const whole = chunk.byteLength - (chunk.byteLength % BLOCK);
    let bits = 0;
    for (let done = 0; done < whole; ) {
      const part = Math.min(this.buffer.byteLength - (this.buffer.byteLength % BLOCK), whole - done);
      bits |= this.#scan(this.#place(chunk.subarray(done, done + part)), part, mask, unit);
      done += part;
    }
    return { bits, bytes: whole };
  }

  #place(part: Uint8Array): number {
    if (part.buffer === this.buffer.buffer) return part.byteOffset;
    this.buffer.set(part);
    return 0;
  }
}

const PAGE = 65_536;
const BLOCK = 16;

/** (pointer, bytes, mask, unit) → bits. Locals 4 and 5 hold mask and unit in four lanes, 6 the OR so far. */
const BODY = [
  ...[0x01, 0x03, 0x7b], // three v128 locals
  ...[0x20, 0x02, 0xfd, 0x11, 0x21, 0x04], // local 4 = i32x4.splat(mask)
  ...[0x20, 0x03, 0xfd, 0x11, 0x21, 0x05], // local 5 = i32x4.splat(unit)
  ...[0x20, 0x00, 0x20, 0x01, 0x6a, 0x21, 0x01], // bytes becomes the end: pointer + bytes
  ...[0x03, 0x40], // loop
  ...[0x20, 0x06, 0x20, 0x00, 0xfd, 0x00, 0x00, 0x00], // local 6, v128.load(pointer)
  ...[0x20, 0x04, 0xfd, 0x4e, 0x20, 0x05, 0xfd, 0xae, 0x01], // v128.and(mask), i32x4.add(unit)
  ...[0xfd, 0x50, 0x21, 0x06], // v128.or into local 6
  ...[0x20, 0x00, 0x41, 0x10, 0x6a, 0x22, 0x00, 0x20, 0x01, 0x49, 0x0d, 0x00], // pointer += 16; again while pointer < end
  0x0b,
  ...[0x20, 0x06, 0xfd, 0x1b, 0x00, 0x20, 0x06, 0xfd, 0x1b, 0x01, 0x72], // lanes 0 | 1
  ...[0x20, 0x06, 0xfd, 0x1b, 0x02, 0x72, 0x20, 0x06, 0xfd, 0x1b, 0x03, 0x72], // | 2 | 3
  0x0b,
];

/** Sections of a WebAssembly binary: type, import of memory m.m, function, export s, code. */
const MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x09, 0x01, 0x60, 0x04, 0x7f, 0x7f, 0x7f, 0x7f, 0x01, 0x7f],
  ...[0x02, 0x08, 0x01, 0x01, 0x6d, 0x01, 0x6d, 0x02, 0x00, 0x01],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x05, 0x01, 0x01, 0x73, 0x00, 0x00],
  ...[0x0a, BODY.length + 2, 0x01, BODY.length, ...BODY],
]);
