import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { EngineModel } from "../../../src/formats/engine-config.ts";
import { PromptWriter, placeImages } from "../../../src/runtime/prompt.ts";
import { type ChatTemplate, findChatTemplate } from "../../../src/runtime/text/chat.ts";
import { openTokenizer, type TextTokenizer } from "../../../src/runtime/text/tokenizer.ts";
import { tokensOf } from "../../../src/vision/index.ts";

const model: EngineModel = {
  architecture: "LlavaForConditionalGeneration",
  model_type: "llava",
  vocab_size: 100,
  image_token_id: 7,
  num_visual_features: 3,
  bos_token_id: 1,
  eos_token_ids: [2],
  pad_token_id: 0,
};
const text: EngineModel = { ...model, image_token_id: null, num_visual_features: 0 };

describe("image placeholders", () => {
  it("become prompt-table rows that no two images of the batch share", () => {
    const items = [
      { ids: [1, 7, 5], images: 1 },
      { ids: [1, 6], images: 0 },
      { ids: [7, 9, 7], images: 2 },
    ];
    expect(placeImages(items, model, "--input_ids")).toEqual({
      prompts: [
        [1, 100, 101, 102, 5],
        [1, 6],
        [103, 104, 105, 9, 106, 107, 108],
      ],
      tableRows: 9,
    });
  });

  it("may already be repeated once a feature, as Hugging Face's processors leave them", () => {
    expect(placeImages([{ ids: [1, 7, 7, 7, 5], images: 1 }], model, "x").prompts).toEqual([[1, 100, 101, 102, 5]]);
  });

  it("are one a row when an image is one feature", () => {
    const one = { ...model, num_visual_features: 1 };
    expect(placeImages([{ ids: [7, 7], images: 2 }], one, "x").prompts).toEqual([[100, 101]]);
  });

  it("that do not match the images are all reported, as are ids outside the vocabulary", () => {
    const items = [
      { ids: [1, 7, 7], images: 1 },
      { ids: [1, 5], images: 1 },
      { ids: [7], images: 0 },
      { ids: [100], images: 0 },
      { ids: [-1], images: 0 },
      { ids: [], images: 0 },
    ];
    const place = (): unknown => placeImages(items, model, "--input_ids");
    expect(place).toThrow(/RUN012.*prompt 1 has 2 image placeholders for 1 images/);
    expect(place).toThrow(/RUN012.*prompt 2 has 0/);
    expect(place).toThrow(/RUN012.*prompt 3 has 1 image placeholders for 0/);
    expect(place).toThrow(/RUN013.*prompt 4 has token id 100; the model knows 0 to 99/);
    expect(place).toThrow(/RUN013.*prompt 5 has token id -1/);
    expect(place).toThrow(/RUN016.*prompt 6 has no tokens/);
  });
});

describe("the prompt of a question", () => {
  const open = async (name: string): Promise<[TextTokenizer, ChatTemplate | undefined, EngineModel]> => {
    const dir = fileURLToPath(new URL(`../../fixtures/tokenizers/${name}`, import.meta.url));
    const tokenizer = await openTokenizer(dir);
    const image = tokenizer.idOf("<image>") as number;
    return [tokenizer, await findChatTemplate(dir, tokenizer), { ...model, image_token_id: image }];
  };

  it("is LLaVA's when the model has images and no template", async () => {
    const [tokenizer, , llava] = await open("llama3");
    const writer = new PromptWriter(tokenizer, undefined, llava);
    expect(await writer.write("Which city?", 1, "auto")).toEqual({
      text: "USER: <image>\nWhich city? ASSISTANT:",
      addSpecialTokens: true,
    });
    expect((await writer.write("Compare.", 2, "auto")).text).toBe("USER: <image>\n<image>\nCompare. ASSISTANT:");
    expect((await writer.write("In <image>, which city?", 1, "auto")).text).toBe(
      "USER: In <image>, which city? ASSISTANT:",
    );
    await expect(writer.write("x", 1, "chat")).rejects.toThrow(/RUN007.*no chat template/);
  });

  it("is the question alone for a text model without a template, and in raw format", async () => {
    const [tokenizer, template, llava] = await open("llama-metaspace");
    expect(await new PromptWriter(tokenizer, undefined, text).write("Once upon", 0, "auto")).toEqual({
      text: "Once upon",
      addSpecialTokens: true,
    });
    expect((await new PromptWriter(tokenizer, template, llava).write("Q", 1, "raw")).text).toBe("Q");
  });

  it("comes from a template that walks a list of parts, with the begin token once", async () => {
    const [tokenizer, template, llava] = await open("llama-metaspace");
    const writer = new PromptWriter(tokenizer, template, llava);
    const prompt = await writer.write("How many?", 1, "auto");
    expect(prompt).toEqual({ text: "<s>USER: <image>\nHow many? ASSISTANT:", addSpecialTokens: false });
    expect(writer.encode(prompt).filter(id => id === tokenizer.idOf("<s>"))).toHaveLength(1);
  });

  it("comes from a template that adds up strings, with the placeholders put into the text", async () => {
    const [tokenizer, template, llava] = await open("llama-legacy");
    const writer = new PromptWriter(tokenizer, template, llava);
    expect(await writer.write("How many?", 2, "auto")).toEqual({
      text: "USER: <image>\n<image>\nHow many? ASSISTANT:",
      addSpecialTokens: true,
    });
    const plain = new PromptWriter(tokenizer, template, text);
    expect(await plain.write("Hi", 0, "auto")).toEqual({ text: "USER: Hi ASSISTANT:", addSpecialTokens: false });
  });

  it("has one word for an image, and another for each of its features between line breaks, where the model has two", async () => {
    const [tokenizer, , llava] = await open("llama3");
    const rule = { kind: "enclosed", features: 3, patches: 12, begin: "Q:", end: "]" } as const;
    const gemma: EngineModel = { ...llava, visual_tokens: rule, prompt: { template: "{images}{question}!" } };
    const writer = new PromptWriter(tokenizer, undefined, gemma);
    const prompt = await writer.write("Two?", 2, "auto");
    expect(prompt.text).toBe("Q:\nQ:\nTwo?!");
    const image = tokensOf(rule, { height: 7, width: 19 });
    const around = "\n\nQ:<image><image><image>]\n\n";
    expect(writer.encode(prompt, [image, image])).toEqual(
      tokenizer.encode(`${around}\n${around}\nTwo?!`, { addSpecialTokens: true }),
    );
    expect(writer.placeholders("Q: and Q:, not <image>")).toBe(2);
    expect(() =>
      placeImages([{ ids: [1, gemma.image_token_id as number], images: 1 }], { ...gemma, vocab_size: 1e6 }, "x"),
    ).toThrow(/RUN012.*1 image placeholders for 1 images; expected 3, one a feature/);
  });
});
