import { describe, expect, it } from "vitest";
import { fingerprint, sortedJson } from "../../../src/build/fingerprint.ts";

describe("fingerprints", () => {
  it("do not depend on the order of keys, at any depth", () => {
    expect(fingerprint({ a: 1, b: { c: [1, 2], d: null } })).toBe(fingerprint({ b: { d: null, c: [1, 2] }, a: 1 }));
  });

  it("depend on the order of lists, on every value and on null against absent", () => {
    const all = [{ a: [1, 2] }, { a: [2, 1] }, { a: ["1", "2"] }, { a: null }, {}, { a: {} }].map(fingerprint);
    expect(new Set(all).size).toBe(all.length);
  });

  it("are SHA-256 of sorted JSON", () => {
    expect(sortedJson({ b: true, a: [{ z: 1, y: "ü" }], c: undefined })).toBe('{"a":[{"y":"ü","z":1}],"b":true}');
    expect(fingerprint({})).toBe("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  });
});
