import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { EngineIo, EngineProfile } from "../../../src/formats/engine-config.ts";
import { belowThreshold, checkAccuracy, readAccuracyFile, sameAnswer } from "../../../src/runtime/accuracy.ts";
import { compareValues, isClose } from "../../../src/runtime/compare.ts";
import { latency, profile } from "../../../src/runtime/profile.ts";
import { checkCapacity, checkProfiles } from "../../../src/runtime/profiles.ts";
import { tempFolder } from "../../support/temp-folder.ts";

describe("a request against the profiles", () => {
  const range = (...max: number[]): { min: number[]; opt: number[]; max: number[] } => ({
    min: max.map(() => 1),
    opt: max.map(() => 1),
    max,
  });
  const input = (name: string, ...dims: (string | number)[]): EngineIo => ({
    name,
    kind: "input",
    dtype: "int32",
    dims,
    shape: dims.map(() => -1),
  });
  const io = [
    input("input_ids", "batch", "seq"),
    input("position_ids", "batch", "seq"),
    input("tasks", "batch", 1),
    input("prompt_embedding_table", "rows", 8),
  ];
  const shapes = {
    input_ids: range(4, 30),
    position_ids: range(4, 30),
    tasks: range(4, 1),
    prompt_embedding_table: range(20, 8),
  };
  const context: EngineProfile = { name: "context", sizes: {}, shapes };
  const longer: EngineProfile = {
    name: "context_64",
    sizes: {},
    shapes: { ...shapes, input_ids: range(4, 64), position_ids: range(4, 64) },
  };
  const call = (batch: number, seq: number, rows: number): Record<string, number[]> => ({
    input_ids: [batch, seq],
    position_ids: [batch, seq],
    tasks: [batch, 1],
    prompt_embedding_table: [rows, 8],
  });

  it("passes at the limits", () => {
    expect(checkProfiles([context], io, call(4, 30, 20), "--input_text")).toEqual([]);
    expect(checkProfiles([context], io, call(1, 1, 1), "--input_text")).toEqual([]);
  });

  it("reports every size that is out of range once, with inputs, limit and the flag to raise", () => {
    const problems = checkProfiles([context], io, call(5, 31, 21), "--input_text");
    expect(problems.map(({ code, what, fix }) => [code, what, fix])).toEqual([
      [
        "RUN010",
        "batch is 5 in input_ids, position_ids, tasks; the context profile takes 1 to 4",
        expect.stringContaining("--max_batch_size 5"),
      ],
      [
        "RUN010",
        "seq is 31 in input_ids, position_ids; the context profile takes 1 to 30",
        expect.stringContaining("--max_input_len 31"),
      ],
      [
        "RUN010",
        "rows is 21 in prompt_embedding_table; the context profile takes 1 to 20",
        expect.stringContaining("--max_multimodal_len 21"),
      ],
    ]);
  });

  it("refuses more tokens than a static cache holds, which no profile can tell", () => {
    const cache = { ...input("cache_key_0", "batch", 2, 19, 8), shape: [-1, 2, 19, 8] };
    expect(checkCapacity([...io, cache], 19, "x")).toEqual([]);
    expect(checkCapacity([...io, cache], 20, "x")).toMatchObject([
      { code: "RUN010", what: "prompt and answer take 20 tokens of cache_key_0, which has 19" },
    ]);
    expect(checkCapacity(io, 10_000, "x")).toEqual([]);
  });

  it("passes when one of several profiles takes it, and reports the nearest otherwise", () => {
    expect(checkProfiles([context, longer], io, call(4, 64, 3), "x")).toEqual([]);
    expect(checkProfiles([context, longer], io, call(5, 60, 3), "x").map(({ what }) => what)).toEqual([
      "batch is 5 in input_ids, position_ids, tasks; the context_64 profile takes 1 to 4",
    ]);
  });
});

describe("comparing values", () => {
  it("finds the worst element and the cosine", () => {
    const difference = compareValues([1, 2, 3.5], [1, 2.25, 3]);
    expect(difference).toMatchObject({ worst: 0.5, index: 2, actual: 3.5, expected: 3, scale: 3 });
    expect(difference.cosine).toBeCloseTo((1 + 4.5 + 10.5) / Math.sqrt(17.25 * 15.0625), 12);
  });

  it("never calls NaN close, and holds small values to the plain bound and large ones to their scale", () => {
    expect(isClose(compareValues([Number.NaN, 1], [0, 1]), 10)).toBe(false);
    expect(isClose(compareValues([0.01002], [0.01]), 1e-4)).toBe(true);
    expect(isClose(compareValues([0.0102], [0.01]), 1e-4)).toBe(false);
    expect(isClose(compareValues([500.04, 1], [500, 1]), 1e-4)).toBe(true);
    expect(isClose(compareValues([500.06, 1], [500, 1]), 1e-4)).toBe(false);
  });

  it("sees small vectors that point elsewhere although every element is within the bound", () => {
    expect(isClose(compareValues([1e-5, -1e-5], [1e-5, 1e-5]), 1e-4)).toBe(false);
    expect(isClose(compareValues([0, 0], [0, 0]), 1e-4)).toBe(true);
  });
});

describe("profiling", () => {
  it("gives percentiles that occurred", () => {
    expect(latency([3, 1, 2])).toEqual({ mean: 2, p50: 2, p90: 3, p99: 3, count: 3 });
    const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
    expect(latency(hundred)).toEqual({ mean: 50.5, p50: 50, p90: 90, p99: 99, count: 100 });
    expect(latency([7])).toMatchObject({ p50: 7, p99: 7 });
  });

  it("does not count the warm-up and takes rates from tokens and their own stage's time", async () => {
    let runs = 0;
    const run = async (): Promise<never> => {
      const slow = runs++ === 0 ? 1000 : 1;
      const timing = {
        visualMs: 4 * slow,
        prefillMs: 20 * slow,
        decodeMs: [5 * slow, 5 * slow],
        promptTokens: 40,
        newTokens: 6,
      };
      return { answers: [], timing } as never;
    };
    const report = await profile({ iterations: 3, batchSize: 2, numBeams: 1, run });
    expect(runs).toBe(4);
    expect(report).toMatchObject({
      visual_ms: { mean: 4, count: 3 },
      prefill_ms: { p99: 20 },
      decode_ms: { p50: 5, count: 6 },
      new_tokens: 6,
    });
    expect(report.tokens_per_second.prefill).toBeCloseTo(2000);
    // 4 of the 6 tokens come from 10 ms of decoding, the first two with the prefill.
    expect(report.tokens_per_second.decode).toBeCloseTo(400);
  });
});

describe("accuracy", () => {
  const write = (text: string): string => {
    const file = join(tempFolder("accuracy"), "questions.jsonl");
    writeFileSync(file, text);
    return file;
  };

  it("looks images up beside the file and skips empty lines", async () => {
    const file = write(
      '{"image": "a.png", "question": "q", "expected": "x", "kind": "any"}\n\n{"question": "r", "expected": "y"}\n',
    );
    expect(await readAccuracyFile(file)).toEqual([
      { line: 1, images: [join(file, "..", "a.png")], question: "q", expected: "x" },
      { line: 3, images: [], question: "r", expected: "y" },
    ]);
  });

  it("reports every unusable line by number", async () => {
    const file = write(
      '{"question": "q"}\n[]\n{"image": 3, "question": "q", "expected": "x"}\n{"image": [1], "question": "q", "expected": "x"}\nnot json\n',
    );
    const read = readAccuracyFile(file);
    await expect(read).rejects.toThrow(/RUN014.*:1/);
    await expect(read).rejects.toThrow(/RUN014.*:2/);
    await expect(read).rejects.toThrow(/RUN014.*:3/);
    await expect(read).rejects.toThrow(/RUN014.*:4/);
    await expect(read).rejects.toThrow(/CKP008.*:5/);
    await expect(readAccuracyFile(write("\n"))).rejects.toThrow(/RUN014.*no questions/);
    await expect(readAccuracyFile("/nonexistent.jsonl")).rejects.toThrow(/RUN014/);
  });

  it("compares after trimming and lower-casing, in batches, and keeps the wrong answers", async () => {
    expect(sameAnswer(" Singapore\n", "singapore")).toBe(true);
    expect(sameAnswer("singapore.", "singapore")).toBe(false);
    const cases = ["a", "b", "c", "d", "e"].map((expected, i) => ({
      line: i + 1,
      images: [],
      question: "?",
      expected,
    }));
    const sizes: number[] = [];
    const report = await checkAccuracy(cases, 2, async batch => {
      sizes.push(batch.length);
      return batch.map(({ expected }) => (expected === "d" ? "z" : expected.toUpperCase()));
    });
    expect(sizes).toEqual([2, 2, 1]);
    expect(report).toMatchObject({ total: 5, correct: 4, accuracy: 0.8, wrong: [{ line: 4, answer: "z" }] });
    expect(belowThreshold(report, 0.8, "x")).toBeUndefined();
    expect(belowThreshold(report, undefined, "x")).toBeUndefined();
    expect(belowThreshold(report, 0.81, "x")).toMatchObject({
      code: "NUM003",
      what: expect.stringContaining("0.8000 (4 of 5)"),
    });
  });
});
