import { describe, expect, it } from "vitest";
import { Cursor } from "../../../src/formats/cursor.ts";
import { TorchHost } from "../../../src/formats/torch/host.ts";
import { type PickleValue, readPickle } from "../../../src/formats/torch/pickle.ts";

/** A pickle by its opcodes as Python's pickletools writes them, with the STOP at its end. */
const read = (opcodes: string): PickleValue =>
  readPickle(new Cursor(Buffer.from(`${opcodes}.`, "latin1")), new TorchHost("model.bin"));

describe("numbers of a pickle", () => {
  it.each<[string, string, PickleValue]>([
    ["a float in decimals", "F-2.5e-3\n", -0.0025],
    ["an infinite float", "Finf\n", Number.POSITIVE_INFINITY],
    ["a float without bound below", "F-inf\n", Number.NEGATIVE_INFINITY],
    ["an integer in decimals", "L989L\n", 989],
    ["an integer beyond 2^53", "L9007199254740993L\n", 9007199254740993n],
    ["a negative one of two bytes", "\x8a\x02\x13\xfc", -1005],
    ["none", "N", null],
  ])("are read: %s", (_, opcodes, value) => {
    expect(read(opcodes)).toBe(value);
  });

  it("may be no number", () => {
    expect(read("Fnan\n")).toBeNaN();
  });
});

describe("collections of a pickle", () => {
  it("are built by marks, memo and appends", () => {
    expect(read("]q\x00(K\x01K\x13eh\x00a")).toEqual([1, 19, expect.any(Array)]);
    expect(read("(U\x01aK\x01U\x01bK\x02d")).toEqual(
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
    );
    expect(read("K\x01K\x02K\x03\x870K\x07")).toBe(7);
    expect(read("K\x01(K\x021")).toBe(1);
    expect(read("K\x052\x86")).toEqual([5, 5]);
  });

  it.each<[string, string]>([
    ["a key without a value", "}(K\x01u"],
    ["a key that is neither text nor a number", "}]K\x01s"],
    ["sets items of something that is not a dict", "]K\x01K\x01s"],
    ["appends to something that is not a list", "K\x01K\x02a"],
    ["ends a collection that it did not begin", "K\x01t"],
    ["takes a value from an empty stack", "K\x01(0"],
    ["uses memo entry 7 before it is set", "h\x07"],
  ])("are refused: %s", (message, opcodes) => {
    expect(() => read(opcodes)).toThrow(new RegExp(`CKP013.*${message}`, "s"));
  });
});

describe("what a pickle must not hold", () => {
  it.each<[string, string]>([
    ["a float that is not decimal digits", "F0x1p3\n"],
    ["an integer that is not decimal digits", "Ifour\n"],
    ["an integer of 40 bytes", `\x8a\x28${"\0".repeat(40)}`],
    ["names a global by something that is not text", "K\x01K\x02\x93"],
    ["calls with arguments that are not a tuple", "ctorch\nSize\nK\x01R"],
    ["a text of the pickle is not UTF-8", "U\x01\xff"],
    ["uses opcode 0x69", "i"],
    ["the pickle has more than 200000 dicts", "}0".repeat(200_001)],
    ["the pickle has more than 2000000 opcodes", "N0".repeat(1_000_001)],
  ])("is refused: %s", (message, opcodes) => {
    expect(() => read(opcodes)).toThrow(new RegExp(`CKP013.*${message}`, "s"));
  });
});
