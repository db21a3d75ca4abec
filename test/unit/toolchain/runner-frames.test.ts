import { describe, expect, it } from "vitest";
import { encodeFrame, FrameParser, type Header } from "../../../src/toolchain/runner/frames.ts";
import { problemsOf } from "../../../src/toolchain/runner/process.ts";

function framesOf(...headers: readonly Header[]): Buffer {
  return Buffer.concat(headers.flatMap(header => [...encodeFrame(header)]));
}

describe("frames between mmtrt and its runner", () => {
  const headers = [
    { kind: "tokens", tokens: [1, 19, 989] },
    { kind: "result", text: "mañana €" },
  ];

  it("come out as they went in, however the bytes are cut", () => {
    const bytes = framesOf(...headers);
    for (const size of [1, 2, 19, bytes.length]) {
      const parser = new FrameParser();
      const found: Header[] = [];
      for (let at = 0; at < bytes.length; at += size) found.push(...parser.push(bytes.subarray(at, at + size)));
      expect(found).toEqual(headers);
    }
  });

  it("announce the bytes of their tensors, which follow in order", () => {
    const tensor = { name: "pixels", dtype: "float32", shape: [1, 2], bytes: new Uint8Array(8).fill(7) };
    const bytes = Buffer.concat(encodeFrame({ kind: "generate" }, [tensor, { ...tensor, name: "more" }]));
    expect(bytes.readBigUInt64LE(8)).toBe(16n);
    const listed = JSON.parse(bytes.toString("utf8", 16, 16 + bytes.readUInt32LE(4))) as { tensors: object[] };
    expect(listed.tensors).toEqual(["pixels", "more"].map(name => ({ name, dtype: "float32", shape: [1, 2] })));
    expect(bytes.subarray(-16)).toEqual(Buffer.alloc(16, 7));
  });

  it("are refused with RUN050 when any of their first bytes is another, or the header is no message", () => {
    for (const at of [0, 1, 2, 3, 7, 15]) {
      const bytes = framesOf({ kind: "hello" });
      bytes[at] = (bytes[at] as number) ^ 0x80;
      expect(() => new FrameParser().push(bytes)).toThrow(/RUN050/);
    }
    for (const text of ["{", "[]", "null", '{"kind":1}']) {
      const bytes = Buffer.concat([framesOf({ kind: "" }).subarray(0, 16), Buffer.from(text)]);
      bytes.writeUInt32LE(Buffer.byteLength(text), 4);
      expect(() => new FrameParser().push(bytes)).toThrow(/RUN050/);
    }
  });

  it("with a problem that lacks a part, or has a code that no runner gives, are refused", () => {
    const whole = { code: "RUN054", what: "a", at: "b", why: "c", fix: "d" };
    expect(problemsOf({ kind: "problem", problems: [whole] })).toEqual([whole]);
    for (const problems of [undefined, [], [{ ...whole, fix: "" }], [{ ...whole, code: "XYZ001" }], [null]])
      expect(() => problemsOf({ kind: "problem", problems })).toThrow(/RUN050/);
  });
});
