import { f16ToF32 } from "../../tensor/index.ts";

let table: Float32Array | undefined;

/** Values of all float16 patterns: a block begins with one or two of them. */
export function f16Values(): Float32Array {
  if (table === undefined) {
    table = new Float32Array(65536);
    f16ToF32(Uint16Array.from(table.keys()), table);
  }
  return table;
}

export function f16At(values: Float32Array, bytes: Uint8Array, at: number): number {
  return values[(bytes[at] as number) | ((bytes[at + 1] as number) << 8)] as number;
}
