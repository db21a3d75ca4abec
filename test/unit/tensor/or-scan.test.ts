import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OrScanner } from "../../../src/tensor/index.ts";

/** The same in plain JavaScript. */
function orOf(bytes: Uint8Array, mask: number, unit: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let bits = 0;
  for (let at = 0; at + 4 <= bytes.byteLength; at += 4) bits |= ((view.getInt32(at, true) & mask) + unit) | 0;
  return bits;
}

describe("OrScanner", () => {
  it("equals a plain loop on any bytes, mask and unit, also on chunks larger than its buffer", () => {
    const scanner = new OrScanner(64);
    const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 989 }), word, word, (bytes, mask, unit) => {
        const { bits, bytes: seen } = scanner.scan(bytes, mask, unit);
        expect(seen).toBe(bytes.byteLength - (bytes.byteLength % 16));
        expect(bits).toBe(orOf(bytes.subarray(0, seen), mask, unit));
      }),
    );
  });

  it("scans its own buffer in place, from any offset in it", () => {
    const scanner = new OrScanner(100_000);
    scanner.buffer.fill(0);
    new DataView(scanner.buffer.buffer).setUint32(99_000, 0x7c00, true);
    expect(scanner.scan(scanner.buffer.subarray(0, 98_992), -1, 0).bits).toBe(0);
    expect(scanner.scan(scanner.buffer.subarray(98_984, 99_016), -1, 0).bits).toBe(0x7c00);
  });
});
