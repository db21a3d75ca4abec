import { describe, expect, it } from "vitest";
import type { Features } from "../../../src/runtime/prompt-table.ts";
import { FeatureCache } from "../../../src/runtime/reuse/feature-cache.ts";
import { BlockKeys, hashOf } from "../../../src/runtime/reuse/keys.ts";

const VOCAB = 100;

/** Features of two images with three rows each. */
function table(hashes: readonly string[] | undefined, fill = 0): Features {
  const values = new Float32Array(6 * 2).fill(fill);
  return { rows: 6, hidden: 2, values, ...(hashes && { hashes }) };
}

describe("keys of blocks", () => {
  it("are the ids of words, and image and row of what lies in the prompt table", () => {
    const keys = new BlockKeys(4, VOCAB, table(["sun", "moon"]));
    expect(keys.of([7, 100, 101, 102, 103, 8, 104, 105, 9, 9, 9])).toEqual(["7,sun:0,:1,:2", "moon:0,8,moon:1,:2"]);
  });

  it("are alike for the same image wherever its rows are in the table, and for no other", () => {
    const first = new BlockKeys(3, VOCAB, table(["sun", "moon"]));
    const second = new BlockKeys(3, VOCAB, table(["moon", "sun"]));
    expect(first.of([100, 101, 102])).toEqual(second.of([103, 104, 105]));
    expect(first.of([100, 101, 102])).not.toEqual(second.of([100, 101, 102]));
  });

  it("tell features without hashes by their values", () => {
    const of = (features: Features): readonly string[] => new BlockKeys(2, VOCAB, features).of([100, 105]);
    expect(of(table(undefined, 1))).toEqual(of(table(undefined, 1)));
    expect(of(table(undefined, 1))).not.toEqual(of(table(undefined, 2)));
  });

  it("tell prompts of different owners apart, which shows in the first block", () => {
    const keys = new BlockKeys(2, VOCAB, undefined);
    expect(keys.of([1, 2, 3, 4], "lora 0")).toEqual(["[lora 0]1,2", "3,4"]);
    expect(keys.of([1, 2, 3, 4])).toEqual(["1,2", "3,4"]);
    expect(keys.of([1])).toEqual([]);
  });

  it("hash a picture's size with its pixels", () => {
    const pixels = Float32Array.of(0.25, -1, 19, 989);
    expect(hashOf(pixels, 2, 2)).toMatch(/^[0-9a-f]{64}$/);
    expect(hashOf(pixels, 2, 2)).toBe(hashOf(pixels.slice(), 2, 2));
    expect(hashOf(pixels, 2, 2)).not.toBe(hashOf(pixels, 4, 1));
    expect(hashOf(pixels.subarray(0, 2), 2, 1)).not.toBe(hashOf(pixels.subarray(2), 2, 1));
  });
});

describe("features of images", () => {
  const one = (value: number): Features => ({ rows: 1, hidden: 2, values: Float32Array.of(value, -value) });

  it("are made once while the budget holds them, the one used longest ago going first", async () => {
    const cache = new FeatureCache(2 * 8);
    const encoded: string[] = [];
    const ask = async (...hashes: string[]): Promise<number[]> => {
      const { values } = await cache.features(hashes, async image => {
        encoded.push(hashes[image] as string);
        return one((hashes[image] as string).charCodeAt(0));
      });
      return Array.from(values);
    };
    expect(await ask("a", "b", "a")).toEqual([97, -97, 98, -98, 97, -97]);
    expect(await ask("a")).toEqual([97, -97]);
    expect(encoded).toEqual(["a", "b"]);
    await ask("c");
    await ask("a", "b");
    expect(encoded).toEqual(["a", "b", "c", "b"]);
  });

  it("come with their hashes, and are not kept where one is larger than the budget", async () => {
    const cache = new FeatureCache(7);
    let encoded = 0;
    const encode = async (): Promise<Features> => {
      encoded += 1;
      return one(1);
    };
    expect((await cache.features(["a", "a"], encode)).hashes).toEqual(["a", "a"]);
    await cache.features(["a"], encode);
    expect(encoded).toBe(2);
  });
});
