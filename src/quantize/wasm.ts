/** The part of the global that is used here; TypeScript has it only among the types of browsers. */
declare const WebAssembly: {
  readonly Memory: new (limits: { readonly initial: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: object) => { readonly exports: unknown };
};

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

export type WasmModule = object;

export const WASM_PAGE = 65_536;

export function wasmMemory(): WasmMemory {
  return new WebAssembly.Memory({ initial: 1 });
}

/** The functions of a module over `memory`; their types are the caller's to know. */
export function instantiate(module: WasmModule, memory: WasmMemory): unknown {
  return new WebAssembly.Instance(module, { m: { m: memory } }).exports;
}

/**
 * An assembler for the few WebAssembly SIMD kernels of this folder: functions of i32 parameters without result, over one
 * imported memory. Instructions are arrays of bytes; nested arrays are flattened.
 */
export type Code = readonly (number | Code)[];

export interface WasmFunction {
  readonly name: string;
  readonly params: number;
  /** i32 locals come after the parameters, v128 locals after those. */
  readonly i32: number;
  readonly v128: number;
  readonly body: Code;
}

export function compileWasm(functions: readonly WasmFunction[]): WasmModule {
  const types = functions.map(({ params }) => [0x60, vector(Array<number>(params).fill(I32)), 0x00]);
  const sections: readonly (readonly [number, Code])[] = [
    [1, vector(types)],
    [2, vector([[name("m"), name("m"), 0x02, 0x00, 0x01]])],
    [3, vector(functions.map((_, i) => unsigned(i)))],
    [7, vector(functions.map((fn, i) => [name(fn.name), 0x00, unsigned(i)]))],
    [10, vector(functions.map(functionBody))],
  ];
  const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
  return new WebAssembly.Module(Uint8Array.from(flat([header, sections.map(([id, body]) => [id, sized(body)])])));
}

const I32 = 0x7f;
const V128 = 0x7b;

function functionBody({ i32, v128, body }: WasmFunction): Code {
  const groups = [...(i32 > 0 ? [[unsigned(i32), I32]] : []), ...(v128 > 0 ? [[unsigned(v128), V128]] : [])];
  return sized([vector(groups), body, 0x0b]);
}

function flat(code: Code): number[] {
  return (code as readonly unknown[]).flat(Number.POSITIVE_INFINITY) as number[];
}

function sized(code: Code): Code {
  const bytes = flat(code);
  return [unsigned(bytes.length), bytes];
}

function vector(items: readonly (number | Code)[]): Code {
  return [unsigned(items.length), items];
}

function name(text: string): Code {
  return sized([...new TextEncoder().encode(text)]);
}

function unsigned(value: number): Code {
  const bytes: number[] = [];
  let rest = value >>> 0;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

function signed(value: number): Code {
  const bytes: number[] = [];
  for (let rest = value | 0; ; rest >>= 7) {
    const last = (rest >> 6 === 0 || rest >> 6 === -1) && bytes.length < 5;
    bytes.push((rest & 0x7f) | (last ? 0 : 0x80));
    if (last) return bytes;
  }
}

const simd = (opcode: number): Code => [0xfd, unsigned(opcode)];
const memory = (opcode: number, offset = 0): Code => [simd(opcode), 0x00, unsigned(offset)];

/** Instructions under their names of the specification. */
export const wasm = {
  get: (local: number): Code => [0x20, unsigned(local)],
  set: (local: number): Code => [0x21, unsigned(local)],
  tee: (local: number): Code => [0x22, unsigned(local)],
  i32: (value: number): Code => [0x41, signed(value)],
  add: [0x6a],
  multiply: [0x6c],
  /** Runs `body` again while the i32 it leaves is not zero. */
  loop: (body: Code): Code => [0x03, 0x40, body, 0x0d, 0x00, 0x0b],
  lessUnsigned: [0x49],
  storeI32: [0x36, 0x02, 0x00],
  load: (offset = 0): Code => memory(0x00, offset),
  loadSplat32: (offset = 0): Code => memory(0x09, offset),
  store: memory(0x0b),
  storeLow64: [memory(0x5b), 0x00],
  splatF32: (value: number): Code => [simd(0x0c), repeat4(new Uint8Array(Float32Array.of(value).buffer))],
  splatBits: (value: number): Code => [simd(0x0c), repeat4(new Uint8Array(Uint32Array.of(value).buffer))],
  /** Byte i of the result is byte lanes[i] of the two operands one after the other. */
  shuffle: (lanes: readonly number[]): Code => [simd(0x0d), lanes],
  lane32: (lane: number): Code => [simd(0x1b), lane],
  and: simd(0x4e),
  or: simd(0x50),
  i8MinSigned: simd(0x76),
  i8MaxSigned: simd(0x78),
  i8Narrow16Signed: simd(0x65),
  i8Narrow16Unsigned: simd(0x66),
  i16Narrow32Signed: simd(0x85),
  i16ShiftRightUnsigned: simd(0x8d),
  i16MaxUnsigned: simd(0x99),
  i32MaxUnsigned: simd(0xb9),
  i32ShiftRightSigned: simd(0xac),
  i32ShiftRightUnsigned: simd(0xad),
  i32Subtract: simd(0xb1),
  f32Add: simd(0xe4),
  f32Divide: simd(0xe7),
} as const;

function repeat4(bytes: Uint8Array): number[] {
  return [...bytes, ...bytes, ...bytes, ...bytes];
}
