import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { EngineModel } from "../../../src/formats/engine-config.ts";
import { PromptWriter, placeImages } from "../../../src/runtime/prompt.ts";
import { openTokenizer, type TextTokenizer } from "../../../src/runtime/text/tokenizer.ts";

const base: EngineModel = {
  architecture: "Blip2ForConditionalGeneration",
  model_type: "blip-2",
  vocab_size: 100,
  image_token_id: -200,
  num_visual_features: 3,
  bos_token_id: 1,
  eos_token_ids: [2],
  pad_token_id: 0,
};
const blip2: EngineModel = { ...base, prompt: { template: "Question: {question} Answer:", images_first: true } };
const vila: EngineModel = {
  ...base,
  prompt: { template: "A chat. USER: {images}{question} ASSISTANT:", image_word: "<image>" },
};

const open = (name: string): Promise<TextTokenizer> =>
  openTokenizer(fileURLToPath(new URL(`../../fixtures/tokenizers/${name}`, import.meta.url)));

describe("a model whose features come first", () => {
  it("gets them before the begin token, and the question in its own words", async () => {
    const tokenizer = await open("llama-metaspace");
    const writer = new PromptWriter(tokenizer, undefined, blip2);
    const prompt = await writer.write("which city is this?", 1, "auto");
    expect(prompt.text).toBe("Question: which city is this? Answer:");
    const ids = writer.encode(prompt);
    expect(ids.slice(0, 2)).toEqual([-200, tokenizer.idOf("<s>")]);
    expect(ids.slice(1)).toEqual(tokenizer.encode(prompt.text));
  });

  it("takes a prompt that is whole already, no text at all, and raw text as they are", async () => {
    const writer = new PromptWriter(await open("llama-metaspace"), undefined, blip2);
    const whole = "Question: which city is this? Answer:";
    expect((await writer.write(whole, 1, "auto")).text).toBe(whole);
    expect((await writer.write("", 1, "auto")).text).toBe("");
    expect((await writer.write("a photo of", 1, "raw")).text).toBe("a photo of");
    expect((await writer.write("a photo of", 2, "raw")).imagesBefore).toBe(2);
  });

  it("may have its begin token behind the last image, and a line break behind the words, of which there may be none", async () => {
    const tokenizer = await open("llama-metaspace");
    const image = tokenizer.idOf("<image>") as number;
    const paligemma: EngineModel = {
      ...{ ...base, image_token_id: image },
      prompt: { template: "<s>{question}\n", images_first: true },
    };
    const writer = new PromptWriter(tokenizer, undefined, paligemma);
    const prompt = await writer.write("caption en", 1, "auto");
    expect(prompt).toEqual({ text: "<s>caption en\n", addSpecialTokens: false, imagesBefore: 1 });
    const ids = writer.encode(prompt);
    expect(ids.slice(0, 2)).toEqual([image, tokenizer.idOf("<s>")]);
    expect(ids.filter(id => id === tokenizer.idOf("<s>"))).toHaveLength(1);
    expect((await writer.write("", 1, "auto")).text).toBe("<s>\n");
    expect((await writer.write("<image><image>answer en", 2, "auto")).text).toBe("<image><image><s>answer en\n");
    expect((await writer.write("<s>caption", 1, "auto")).text).toBe("<s>caption");
    expect((await writer.write("caption", 1, "raw")).text).toBe("caption");
  });

  it("gets rows of the prompt table in front of ids that name no image, as before there was an image token", () => {
    const items = [
      { ids: [1, 5], images: 1 },
      { ids: [-200, -200, -200, 1, 6], images: 1 },
      { ids: [1, 7], images: 0 },
    ];
    expect(placeImages(items, blip2, "--input_ids").prompts).toEqual([
      [100, 101, 102, 1, 5],
      [103, 104, 105, 1, 6],
      [1, 7],
    ]);
  });
});

describe("a model without an image token in its vocabulary", () => {
  it("has the text between images tokenized piece by piece, with one begin token", async () => {
    const tokenizer = await open("llama-metaspace");
    const writer = new PromptWriter(tokenizer, undefined, {
      ...vila,
      prompt: { template: "USER: {images}{question} END", image_word: "[IMG]" },
    });
    expect(writer.placeholders("[IMG] and [IMG]")).toBe(2);
    const prompt = await writer.write("Compare.", 2, "auto");
    expect(prompt.text).toBe("USER: [IMG]\n[IMG]\nCompare. END");
    const [bos, ...first] = tokenizer.encode("USER: ");
    const piece = (text: string): number[] => tokenizer.encode(text).slice(1);
    expect(writer.encode(prompt)).toEqual([bos, ...first, -200, ...piece("\n"), -200, ...piece("\nCompare. END")]);
  });

  it("is tokenized in one piece where the tokenizer knows the word, as a checkpoint with a token of its own was trained", async () => {
    const tokenizer = await open("llama-metaspace");
    const writer = new PromptWriter(tokenizer, undefined, vila);
    const prompt = await writer.write("Compare.", 2, "auto");
    const image = tokenizer.idOf("<image>");
    expect(writer.encode(prompt)).toEqual(tokenizer.encode(prompt.text).map(id => (id === image ? -200 : id)));
    expect(writer.encode(prompt).filter(id => id === -200)).toHaveLength(2);
  });

  it("takes a negative id in --input_ids for an image, and no other", () => {
    expect(placeImages([{ ids: [1, -200, 5], images: 1 }], vila, "x").prompts).toEqual([[1, 100, 101, 102, 5]]);
    expect(() => placeImages([{ ids: [1, -1], images: 0 }], vila, "x")).toThrow(/RUN013.*token id -1/);
    expect(() => placeImages([{ ids: [1, 5], images: 1 }], vila, "x")).toThrow(/RUN012/);
  });
});

describe("a model with marks about each image", () => {
  const qwen: EngineModel = {
    ...base,
    prompt: { template: "<user>{images}{question}<assistant>", image_word: "<image>", picture: "<see>{image}</see>" },
  };

  it("gets them where it has no chat template, and none without an image", async () => {
    const writer = new PromptWriter(await open("llama-metaspace"), undefined, qwen);
    expect((await writer.write("which?", 2, "auto")).text).toBe(
      "<user><see><image></see><see><image></see>which?<assistant>",
    );
    expect((await writer.write("why?", 0, "auto")).text).toBe("<user>why?<assistant>");
    expect((await writer.write("is <image> red?", 1, "auto")).text).toBe("<user>is <image> red?<assistant>");
    expect(writer.pictureText).toBe("<see><image></see>");
    expect(new PromptWriter(await open("llama-metaspace"), undefined, vila).pictureText).toBe("<image>");
  });
});
