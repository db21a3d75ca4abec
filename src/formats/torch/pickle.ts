import type { Cursor } from "../cursor.ts";

/** What a pickle of weights is made of. Tuples and lists are arrays; `Opaque` values are made by the `PickleHost`. */
export type PickleValue = null | boolean | number | bigint | string | Uint8Array | PickleValue[] | PickleDict | Opaque;
export type PickleDict = Map<PickleKey, PickleValue>;
export type PickleKey = null | boolean | number | bigint | string;

/** Anything that stands for a Python object: a permitted global, a storage, a tensor. */
export abstract class Opaque {
  abstract readonly kind: string;
}

/** Decides what globals, calls and persistent ids mean; `at` is the byte offset in the file. */
export interface PickleHost {
  global(module: string, name: string, at: number): PickleValue;
  call(callee: PickleValue, args: readonly PickleValue[], at: number): PickleValue;
  /** `object.__setstate__(state)`; gives the object to go on with. */
  build(object: PickleValue, state: PickleValue, at: number): PickleValue;
  persistent(id: PickleValue, at: number): PickleValue;
  malformed(message: string, at: number): never;
}

/** The longest integer of a torch file is its 10-byte magic number. */
const MAX_INTEGER_BYTES = 32;
/** A tensor takes about 40 opcodes. */
const MAX_OPCODES = 2_000_000;
/** An empty dict takes one byte of file and 200 of memory; a tensor brings one, for the hooks of training. */
export const MAX_DICTS = 200_000;
const STOP = 0x2e;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Runs one pickle (protocols 0 to 5, the opcodes state dicts need) and leaves the cursor behind it. Nothing is ever executed. */
export function readPickle(cursor: Cursor, host: PickleHost): PickleValue {
  const machine = new Machine(cursor, host);
  for (let count = 0; ; count++) {
    machine.opcodeAt = cursor.at;
    if (count > MAX_OPCODES) host.malformed(`the pickle has more than ${MAX_OPCODES} opcodes`, cursor.at);
    const opcode = cursor.u8();
    if (opcode === STOP) return machine.pop();
    const run = OPCODES[opcode];
    if (run === undefined)
      host.malformed(
        `the pickle uses opcode 0x${opcode.toString(16).padStart(2, "0")}, which no state dict needs`,
        machine.opcodeAt,
      );
    run(machine);
  }
}

class Machine {
  readonly cursor: Cursor;
  readonly host: PickleHost;
  readonly #memo = new Map<number, PickleValue>();
  readonly #marks: number[] = [];
  #dicts = 0;
  #stack: PickleValue[] = [];
  opcodeAt = 0;

  constructor(cursor: Cursor, host: PickleHost) {
    this.cursor = cursor;
    this.host = host;
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    const value = this.top();
    this.#stack.pop();
    return value;
  }

  top(): PickleValue {
    // Below the last mark the stack belongs to an outer collection.
    const value = this.#stack.length > (this.#marks.at(-1) ?? 0) ? this.#stack.at(-1) : undefined;
    return value === undefined ? this.fail("the pickle takes a value from an empty stack") : value;
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  /** The values since the last mark. */
  popMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) this.fail("the pickle ends a collection that it did not begin");
    const values = this.#stack.slice(mark);
    this.#stack.length = mark;
    return values;
  }

  tuple(length: number): void {
    const values: PickleValue[] = [];
    for (let i = 0; i < length; i++) values.push(this.pop());
    this.push(values.reverse());
  }

  put(index = this.#memo.size): void {
    this.#memo.set(index, this.top());
  }

  get(index: number): void {
    const value = this.#memo.get(index);
    this.push(value === undefined ? this.fail(`the pickle uses memo entry ${index} before it is set`) : value);
  }

  append(values: readonly PickleValue[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.fail("the pickle appends to something that is not a list");
    for (const value of values) list.push(value);
  }

  setItems(pairs: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) this.fail("the pickle sets items of something that is not a dict");
    if (pairs.length % 2 !== 0) this.fail("the pickle gives a dict a key without a value");
    for (let i = 0; i < pairs.length; i += 2) dict.set(this.key(pairs[i] as PickleValue), pairs[i + 1] as PickleValue);
  }

  key(value: PickleValue): PickleKey {
    return typeof value === "object" && value !== null
      ? this.fail("a dict has a key that is neither text nor a number")
      : value;
  }

  dict(pairs: readonly PickleValue[]): void {
    if (++this.#dicts > MAX_DICTS) this.fail(`the pickle has more than ${MAX_DICTS} dicts`);
    this.push(new Map());
    this.setItems(pairs);
  }

  text(bytes: Uint8Array): string {
    try {
      return utf8.decode(bytes);
    } catch {
      this.fail("a text of the pickle is not UTF-8");
    }
  }

  /** A length of 8 bytes; more than memory can hold is more than the file has. */
  longLength(): number {
    return Number(this.cursor.u64());
  }

  /** Two's complement, little-endian. */
  integer(length: number): number | bigint {
    if (length > MAX_INTEGER_BYTES) this.fail(`the pickle has an integer of ${length} bytes`);
    const bytes = this.cursor.bytes(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    return shrink(BigInt.asIntN(length * 8, value));
  }

  /** `I01\n`, `I42\n`, `L42L\n`. */
  integerLine(): number | bigint {
    const text = Buffer.from(this.cursor.line()).toString("latin1").replace(/L$/, "");
    if (!/^-?\d{1,40}$/.test(text)) this.fail("the pickle has an integer that is not decimal digits");
    return shrink(BigInt(text));
  }

  floatLine(): number {
    const text = Buffer.from(this.cursor.line()).toString("latin1");
    if (!/^-?(\d+(\.\d*)?(e[+-]?\d+)?|inf|nan)$/i.test(text))
      this.fail("the pickle has a float that is not decimal digits");
    return /inf/i.test(text) ? (text.startsWith("-") ? -Infinity : Infinity) : Number(text);
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string")
      this.fail("the pickle names a global by something that is not text");
    this.push(this.host.global(module, name, this.opcodeAt));
  }

  reduce(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!Array.isArray(args)) this.fail("the pickle calls with arguments that are not a tuple");
    this.push(this.host.call(callee, args, this.opcodeAt));
  }

  fail(message: string): never {
    this.host.malformed(message, this.opcodeAt);
  }
}

function shrink(value: bigint): number | bigint {
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

/** By opcode letter, as Python's pickletools lists them. */
const OPCODES: Readonly<Record<number, (m: Machine) => void>> = byCode({
  "\x80": m => void m.cursor.u8(), // PROTO
  "\x95": m => void m.cursor.u64(), // FRAME: only a hint for buffering
  "(": m => m.mark(),
  "0": m => void m.pop(),
  "1": m => void m.popMark(),
  "2": m => m.push(m.top()),
  N: m => m.push(null),
  "\x88": m => m.push(true),
  "\x89": m => m.push(false),
  I: m => m.push(m.integerLine()),
  L: m => m.push(m.integerLine()),
  F: m => m.push(m.floatLine()),
  J: m => m.push(m.cursor.i32()),
  K: m => m.push(m.cursor.u8()),
  M: m => m.push(m.cursor.u16()),
  G: m => m.push(m.cursor.f64be()),
  "\x8a": m => m.push(m.integer(m.cursor.u8())),
  "\x8b": m => m.push(m.integer(m.cursor.u32())),
  X: m => m.push(m.text(m.cursor.bytes(m.cursor.u32()))),
  "\x8c": m => m.push(m.text(m.cursor.bytes(m.cursor.u8()))),
  "\x8d": m => m.push(m.text(m.cursor.bytes(m.longLength()))),
  T: m => m.push(m.text(m.cursor.bytes(m.cursor.u32()))), // BINSTRING: Python 2 wrote names so
  U: m => m.push(m.text(m.cursor.bytes(m.cursor.u8()))),
  B: m => m.push(m.cursor.bytes(m.cursor.u32())),
  C: m => m.push(m.cursor.bytes(m.cursor.u8())),
  "\x8e": m => m.push(m.cursor.bytes(m.longLength())),
  "]": m => m.push([]),
  ")": m => m.push([]),
  "}": m => m.dict([]),
  l: m => m.push(m.popMark()),
  t: m => m.push(m.popMark()),
  d: m => m.dict(m.popMark()),
  "\x85": m => m.tuple(1),
  "\x86": m => m.tuple(2),
  "\x87": m => m.tuple(3),
  a: m => m.append([m.pop()]),
  e: m => m.append(m.popMark()),
  s: m => m.setItems([m.pop(), m.pop()].reverse()),
  u: m => m.setItems(m.popMark()),
  p: m => m.put(Number(m.integerLine())),
  q: m => m.put(m.cursor.u8()),
  r: m => m.put(m.cursor.u32()),
  "\x94": m => m.put(),
  g: m => m.get(Number(m.integerLine())),
  h: m => m.get(m.cursor.u8()),
  j: m => m.get(m.cursor.u32()),
  c: m => m.global(m.text(m.cursor.line()), m.text(m.cursor.line())),
  "\x93": m => {
    const name = m.pop();
    m.global(m.pop(), name);
  },
  R: m => m.reduce(),
  "\x81": m => m.reduce(), // NEWOBJ: cls.__new__(cls, *args), the same for the types we permit
  b: m => {
    const state = m.pop();
    m.push(m.host.build(m.pop(), state, m.opcodeAt));
  },
  Q: m => m.push(m.host.persistent(m.pop(), m.opcodeAt)),
});

function byCode<T>(table: Readonly<Record<string, T>>): Readonly<Record<number, T>> {
  return Object.fromEntries(Object.entries(table).map(([letter, run]) => [letter.charCodeAt(0), run]));
}
