import { modelType } from "./schema.ts";

type MessageType = typeof modelType;

/** Wire types of protobuf. */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
const MAX_DEPTH = 100;
/** A number of a list beside a message. */
const NUMBER = 0.05;

/**
 * Messages and texts that decoding `bytes` as a model would make, up to `most`: looked at without making any. Bytes that
 * are no message count as none; the decoder says what is wrong with them.
 */
export function countMessages(bytes: Uint8Array, most: number): number {
  const counter = new Counter(bytes, most);
  counter.message(modelType, bytes.byteLength, 0);
  return counter.count;
}

class Counter {
  count = 0;
  readonly #bytes: Uint8Array;
  readonly #most: number;
  #at = 0;

  constructor(bytes: Uint8Array, most: number) {
    this.#bytes = bytes;
    this.#most = most;
  }

  /** Walks the fields of one message up to `end`. */
  message(type: MessageType, end: number, depth: number): void {
    while (this.#at < end && this.count <= this.#most) {
      const tag = this.#varint();
      const wire = tag & 7;
      // Numbers of a list take memory as well, at two bytes of file each.
      if (wire === VARINT) this.count += this.#varint() >= 0 ? NUMBER : 0;
      else if (wire === FIXED64) this.#at += 8;
      else if (wire === FIXED32) this.#at += 4;
      else if (wire !== BYTES) return;
      else this.#field(type, tag >>> 3, depth);
    }
  }

  #field(type: MessageType, number: number, depth: number): void {
    const length = this.#varint();
    const end = length + this.#at;
    const field = type.fieldsById[number];
    if (field === undefined) {
      this.#at = end;
      return;
    }
    const inner = field.resolve().resolvedType;
    const packed = inner === null && field.type !== "string" && field.type !== "bytes";
    this.count += packed ? length * NUMBER : 1;
    // Enumerations have no fields of their own.
    if (inner && "fieldsById" in inner && depth < MAX_DEPTH)
      this.message(inner as MessageType, Math.min(end, this.#bytes.byteLength), depth + 1);
    this.#at = end;
  }

  /** Past the end it reads zeros; more than 2^53 is past the end too. */
  #varint(): number {
    let value = 0;
    for (let factor = 1; factor < 2 ** 70; factor *= 128) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) break;
    }
    return value;
  }
}
