import { describe, expect, it } from "vitest";
import { answersKey, passkeyPrompt, passkeyText } from "../../../src/runtime/passkey/prompt.ts";
import { type AskedKey, passkeyReport } from "../../../src/runtime/passkey/report.ts";

/** A token for each word. */
const words = async (text: string): Promise<readonly number[]> => text.split(/\s+/).map(word => word.length);

describe("the text around a pass key", () => {
  it("has the key behind the part of the filler that the depth says, and the question at its end", () => {
    const at = (depth: number): number => passkeyText(19, depth, "48213").indexOf("The pass key is 48213");
    const { length } = passkeyText(19, 0, "48213");
    expect(at(0)).toBeLessThan(length * 0.2);
    expect(at(0.5) / length).toBeGreaterThan(0.4);
    expect(at(0.5) / length).toBeLessThan(0.6);
    expect(at(1)).toBeGreaterThan(length * 0.75);
    for (const depth of [0, 0.5, 1]) {
      const text = passkeyText(19, depth, "48213");
      expect(text.length).toBe(length);
      expect(text.endsWith("\nWhat is the pass key? The pass key is")).toBe(true);
      expect(text.split("48213").length - 1).toBe(2);
    }
  });

  it("fills as many tokens as there are with whole sentences, and never one more", async () => {
    for (const tokens of [60, 61, 67, 199, 989, 5003]) {
      const ids = await passkeyPrompt(words, tokens, 0.3, "48213");
      expect(ids?.length, String(tokens)).toBeLessThanOrEqual(tokens);
      // The longest sentence has eight words.
      expect(ids?.length, String(tokens)).toBeGreaterThan(tokens - 8);
    }
  });

  it("is none where even the question does not fit", async () => {
    expect(await passkeyPrompt(words, 19, 0.5, "48213")).toBeUndefined();
    expect(await passkeyPrompt(words, 1, 0.5, "48213")).toBeUndefined();
  });

  it("is as long as a tokenizer of uneven pieces allows", async () => {
    const uneven = async (text: string): Promise<readonly number[]> =>
      [...text.replaceAll(/[^aeou]/g, "")].map(() => 1);
    const ids = await passkeyPrompt(uneven, 333, 1, "48213");
    expect(ids?.length).toBeLessThanOrEqual(333);
    expect(ids?.length).toBeGreaterThan(333 - 12);
  });
});

describe("an answer", () => {
  it("has the key where it stands as a number of its own", () => {
    for (const answer of [" 48213.", "The pass key is 48213", "**48213**"])
      expect(answersKey(answer, "48213")).toBe(true);
    for (const answer of ["", "48214", "148213", "482130", "4821 3"]) expect(answersKey(answer, "48213")).toBe(false);
  });
});

describe("the report of asked keys", () => {
  const asked = (length: number, depth: number, found: boolean): AskedKey => ({
    length,
    depth,
    found,
    key: "48213",
    answer: found ? " 48213." : " 11111.",
    promptTokens: length - 7,
    prefillMs: length / 10,
  });

  it("counts by length and depth, and names the longest length up to which nothing was missed", () => {
    const report = passkeyReport([
      ...[512, 2048].flatMap(length => [asked(length, 0, true), asked(length, 50, true)]),
      asked(1024, 0, true),
      asked(1024, 50, false),
    ]);
    expect(report).toMatchObject({ found: 5, total: 6, longest_found: 512 });
    expect(report.accuracy).toBeCloseTo(5 / 6, 15);
    expect(report.lengths.map(({ context_len, found, total }) => [context_len, found, total])).toEqual([
      [512, 2, 2],
      [1024, 1, 2],
      [2048, 2, 2],
    ]);
    expect(report.lengths[0]).toMatchObject({ prompt_tokens: 505, prefill_ms: 51.2 });
    expect(report.cells).toContainEqual({ context_len: 1024, depth: 50, found: 0, total: 1 });
    expect(report.missed).toEqual([{ context_len: 1024, depth: 50, key: "48213", answer: " 11111." }]);
  });

  it("has no such length where the shortest missed one, and the longest where none did", () => {
    expect(passkeyReport([asked(19, 0, false), asked(512, 0, true)]).longest_found).toBeNull();
    expect(passkeyReport([asked(19, 0, true), asked(512, 0, true)]).longest_found).toBe(512);
  });
});
