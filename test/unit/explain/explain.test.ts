import { describe, expect, it } from "vitest";
import { CODES } from "../../../src/diagnostics/index.ts";
import { EXPLANATIONS, explain } from "../../../src/toolchain/explain/index.ts";
import { REAL_MESSAGES } from "./messages.ts";

describe("explain", () => {
  it.each(REAL_MESSAGES)("names cause and cure of $from's message $code: $text", ({ code, text, says }) => {
    const findings = explain(text);
    expect(findings.map(f => f.code)).toEqual([code]);
    const [finding] = findings;
    const words = `${finding?.what}\n${finding?.fix}`;
    for (const word of says) expect(words).toContain(word);
    expect(words).not.toMatch(/undefined|NaN| {2}/);
    expect(finding?.why).toBe(CODES[code].about);
    expect(text).toContain(finding?.message);
  });

  it("has a real message for every entry", () => {
    const silent = EXPLANATIONS.filter(({ pattern }) => !REAL_MESSAGES.some(({ text }) => pattern.test(text)));
    expect(silent.map(({ code, pattern }) => `${code} ${pattern}`)).toEqual([]);
    expect(new Set(EXPLANATIONS.map(e => e.code)).size).toBeGreaterThanOrEqual(60);
  });

  it("puts the cause before warnings and before what only follows, wherever they stand", () => {
    const log = [
      "[I] [TRT] Local timing cache in use. Profiling results in this builder pass will not be stored.",
      "[W] [TRT] Skipping tactic 0 due to insuficient memory on requested size of 29147520 detected for tactic 0.",
      "[E] Error[10]: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a...b]}.)",
      "[E] Error[2]: [builder.cpp::buildSerializedNetwork::609] Error Code 2: Internal Error (Assertion enginePtr != nullptr failed. )",
      "[E] Engine set up failed",
      "&&&& FAILED TensorRT.trtexec [TensorRT v8205] # ./trtexec --onnx=debug.onnx",
    ].join("\n");
    expect(explain(log).map(f => [f.code, f.kind, f.line])).toEqual([
      ["TRT170", "cause", 3],
      ["TRT182", "notice", 2],
      ["TRT263", "effect", 4],
    ]);
  });

  it("does not blame the missing GPU for errors that TensorRT-RTX repeats with a CUDA error", () => {
    const text = REAL_MESSAGES.find(m => m.code === "TRT144")?.text ?? "";
    expect(text).toContain("cudaError 35");
    expect(explain(text).map(f => f.code)).toEqual(["TRT144"]);
  });

  it("reports one message once, however often the log has it", () => {
    const line = "[E] Unknown option: --best \n";
    expect(explain(line.repeat(989))).toHaveLength(1);
  });

  it("finds nothing in a log of a build that went well", () => {
    const log = [
      "&&&& RUNNING TensorRT.trtexec [TensorRT v101600] [b42] # trtexec --onnx=m.onnx --saveEngine=m.engine",
      "[I] Start parsing network model.",
      "[I] [TRT] Detected 19 inputs and 17 output network tensors.",
      "[I] [TRT] Total Activation Memory: 8193536 bytes",
      "[I] Engine built in 9.12 sec.",
      "&&&& PASSED TensorRT.trtexec [TensorRT v101600] [b42] # trtexec --onnx=m.onnx --saveEngine=m.engine",
    ].join("\n");
    expect(explain(log)).toEqual([]);
  });

  it("reads through terminal colours and carriage returns, and keeps line numbers", () => {
    const [finding] = explain("first\r\n\u001b[31m[E] Unknown option: --foo\u001b[0m\r\n");
    expect(finding).toMatchObject({ code: "TRT261", line: 2, message: "[E] Unknown option: --foo" });
  });

  it("keeps line numbers true in a log so long that its middle is skipped", () => {
    const log = `${"[V] [TRT] nothing to see\n".repeat(200_000)}[E] Unknown option: --foo`;
    expect(explain(log)[0]).toMatchObject({ code: "TRT261", line: 200_001 });
  });

  it.each([
    "a".repeat(2 << 20),
    ": ".repeat(1 << 20),
    "While parsing node number 1 [X".repeat(40_000),
    "libx.so".repeat(200_000),
  ])("answers a hostile text in bounded time (%#)", text => {
    const started = performance.now();
    explain(text);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
