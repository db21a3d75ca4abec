import { describe, expect, it } from "vitest";
import { GENERATE_DEFAULTS } from "../../../../src/runtime/generate/options.ts";
import { chooseToken, Random } from "../../../../src/runtime/generate/sample.ts";
import { adjustScores, argmax, logSoftmax, topCandidates } from "../../../../src/runtime/generate/scores.ts";

const SAMPLE = { ...GENERATE_DEFAULTS, topK: 0 };

describe("random numbers", () => {
  it("are the same for the same seed and stream, others for others, and within [0, 1)", () => {
    const draw = (seed: number, stream: number): number[] => {
      const random = new Random(seed, stream);
      return Array.from({ length: 19 }, () => random.next());
    };
    expect(draw(7, 3)).toEqual(draw(7, 3));
    expect(new Set([draw(7, 3), draw(7, 4), draw(8, 3), draw(0, 0)].map(numbers => numbers.join())).size).toBe(4);
    for (const number of draw(1, 1)) expect(number >= 0 && number < 1).toBe(true);
  });
});

describe("choosing a token", () => {
  const scores = Float32Array.of(0, 2, 1, -1, Number.NEGATIVE_INFINITY);

  it("is greedy for top_k 1, and takes the first of equals", () => {
    expect(chooseToken(scores, GENERATE_DEFAULTS, new Random(0, 0))).toBe(1);
    expect(argmax(Float32Array.of(3, 5, 5))).toBe(1);
  });

  it("draws each token as often as its probability says", () => {
    const random = new Random(11, 0);
    const counts = new Array<number>(5).fill(0);
    const draws = 20_000;
    for (let i = 0; i < draws; i++) {
      const id = chooseToken(scores, SAMPLE, random);
      counts[id] = (counts[id] as number) + 1;
    }
    const weights = [1, Math.E ** 2, Math.E, 1 / Math.E, 0];
    const total = weights.reduce((a, b) => a + b);
    // χ² of 3 degrees of freedom exceeds 16.3 once in a thousand seeds; this one is fixed.
    const expected = weights.map(weight => (draws * weight) / total);
    const chi = expected.slice(0, 4).reduce((sum, e, id) => sum + ((counts[id] as number) - e) ** 2 / e, 0);
    expect(chi).toBeLessThan(16.3);
    expect(counts[4]).toBe(0);
  });

  it("refuses logits that are not numbers", () => {
    for (const row of [
      Float32Array.of(1, Number.NaN),
      Float32Array.of(Number.POSITIVE_INFINITY, 0),
      Float32Array.of(-Infinity, -Infinity),
    ]) {
      expect(() => chooseToken(row, GENERATE_DEFAULTS, new Random(0, 0))).toThrow(/NUM001/);
      expect(() => chooseToken(row, SAMPLE, new Random(0, 0))).toThrow(/NUM001/);
    }
  });
});

describe("scores", () => {
  it("of seen tokens are divided when positive and multiplied when negative, once each", () => {
    const options = { ...GENERATE_DEFAULTS, repetitionPenalty: 2 };
    expect(Array.from(adjustScores(Float32Array.of(4, -4, 6), [0, 0, 1, 99], 0, options))).toEqual([2, -8, 6]);
  });

  it("of tokens that would repeat a run of no_repeat_ngram_size are impossible", () => {
    const banned = (size: number, seen: readonly number[]): number[] => {
      const options = { ...GENERATE_DEFAULTS, noRepeatNgramSize: size };
      const scores = adjustScores(Float32Array.of(1, 2, 3, 4, 5), seen, 9, options);
      return Array.from(scores.keys()).filter(id => scores[id] === Number.NEGATIVE_INFINITY);
    };
    expect(banned(0, [1, 1, 1])).toEqual([]);
    expect(banned(1, [3, 0, 3])).toEqual([0, 3]);
    expect(banned(2, [1, 2, 1, 4, 3, 1])).toEqual([2, 4]);
    expect(banned(3, [0, 1, 2, 0, 1])).toEqual([2]);
    expect(banned(3, [0, 1])).toEqual([]);
    expect(banned(3, [])).toEqual([]);
    expect(banned(2, [4, 4])).toEqual([4]);
  });

  it("of end tokens are impossible before min_new_tokens", () => {
    const options = { ...GENERATE_DEFAULTS, minNewTokens: 2, eosTokenIds: [1] };
    expect(adjustScores(Float32Array.of(0, 5), [], 1, options)[1]).toBe(Number.NEGATIVE_INFINITY);
    expect(adjustScores(Float32Array.of(0, 5), [], 2, options)[1]).toBe(5);
  });

  it("become log probabilities that sum to one, also when they are huge", () => {
    for (const row of [Float32Array.of(1, 2, 3), Float32Array.of(5000, 4999, -5000), Float32Array.of(-9)]) {
      expect(logSoftmax(row).reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 6);
    }
  });

  it("give the k best in falling order, the earlier of equals first", () => {
    expect(topCandidates(Float64Array.of(1, 5, 5, 2), 3).map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(topCandidates(Float64Array.of(1, 0), 5).map(({ id }) => id)).toEqual([0, 1]);
  });
});
