import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { pairUp, readInputIds } from "../../../src/runtime/request.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const placeholders = (prompt: string | readonly number[]): number =>
  typeof prompt === "string" ? prompt.split("<image>").length - 1 : 0;
const pair = (prompts: readonly string[], imageCount: number): unknown =>
  pairUp({ prompts, imageCount, placeholders }).map(({ prompt, images }) => [prompt, images]);

describe("prompts and images of a request", () => {
  it("go together one to one, or one of either serves all of the other", () => {
    expect(pair(["a"], 1)).toEqual([["a", [0]]]);
    expect(pair(["a", "b"], 2)).toEqual([
      ["a", [0]],
      ["b", [1]],
    ]);
    expect(pair(["a"], 3)).toEqual([
      ["a", [0]],
      ["a", [1]],
      ["a", [2]],
    ]);
    expect(pair(["a", "b"], 1)).toEqual([
      ["a", [0]],
      ["b", [0]],
    ]);
    expect(pair(["a", "b"], 0)).toEqual([
      ["a", []],
      ["b", []],
    ]);
  });

  it("belong to one prompt where pictures are seen together, and are dealt out where there are several prompts", () => {
    const together = (prompts: readonly string[], imageCount: number): unknown =>
      pairUp({ prompts, imageCount, placeholders, together: true });
    expect(together(["a"], 3)).toEqual([{ prompt: "a", images: [0, 1, 2] }]);
    expect(together(["<image> a <image>"], 2)).toEqual([{ prompt: "<image> a <image>", images: [0, 1] }]);
    expect(together(["a", "b"], 2)).toEqual([
      { prompt: "a", images: [0] },
      { prompt: "b", images: [1] },
    ]);
  });

  it("follow the placeholders when there are any: several images in a prompt, none in another", () => {
    expect(pair(["<image> and <image>", "no picture", "<image>?"], 3)).toEqual([
      ["<image> and <image>", [0, 1]],
      ["no picture", []],
      ["<image>?", [2]],
    ]);
    expect(pair(["<image> a", "b", "<image> c"], 1)).toEqual([
      ["<image> a", [0]],
      ["b", []],
      ["<image> c", [0]],
    ]);
  });

  it("that do not fit are refused with both numbers", () => {
    expect(() => pair(["a", "b"], 3)).toThrow(/RUN012.*2 prompts and 3 images/);
    expect(() => pair(["<image><image>"], 1)).toThrow(/RUN012.*2 image placeholders and 1 images/);
    expect(() => pair(["<image>", "b"], 2)).toThrow(/RUN012/);
    expect(() => pair([], 1)).toThrow(/RUN016/);
  });
});

describe("a file of token ids", () => {
  const write = (text: string): string => {
    const file = join(tempFolder("ids"), "ids.json");
    writeFileSync(file, text);
    return file;
  };

  it("holds one list a prompt, or one list", async () => {
    expect(await readInputIds(write("[[1, 2], [3]]"))).toEqual([[1, 2], [3]]);
    expect(await readInputIds(write("[1, 2]"))).toEqual([[1, 2]]);
  });

  it("with anything else is refused", async () => {
    for (const text of ["[]", "[[]]", "[[1.5]]", '[["1"]]', "{}", "[[1], 2]", "null"]) {
      await expect(readInputIds(write(text)), text).rejects.toThrow(/RUN014/);
    }
    await expect(readInputIds(write("[[1,"))).rejects.toThrow(/CKP008/);
  });
});
