import { fail, type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { EngineModel } from "../formats/engine-config.ts";
import { type ChatTemplate, renderChat } from "./text/chat.ts";
import type { TextTokenizer } from "./text/tokenizer.ts";

/** auto: the model's chat template, else the family's prompt; raw: the text as it is. */
export type PromptFormat = "auto" | "chat" | "raw";

export interface PromptText {
  readonly text: string;
  /** Whether the tokenizer adds its begin token, as Hugging Face does in the same place. */
  readonly addSpecialTokens: boolean;
}

/** Turns questions into the prompt the model was trained with. */
export class PromptWriter {
  readonly #tokenizer: TextTokenizer;
  readonly #template: ChatTemplate | undefined;
  /** The word that stands for an image in text, `<image>`; undefined for a text-only model. */
  readonly imageWord: string | undefined;

  constructor(tokenizer: TextTokenizer, template: ChatTemplate | undefined, model: EngineModel) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.imageWord = model.image_token_id === null ? undefined : tokenizer.tokenOf(model.image_token_id);
  }

  /** Images that `text` itself asks for. */
  placeholders(text: string): number {
    return this.imageWord === undefined ? 0 : text.split(this.imageWord).length - 1;
  }

  /** The prompt for a question about `images` pictures, which come before it unless it places them itself. */
  async write(question: string, images: number, format: PromptFormat): Promise<PromptText> {
    if (format === "raw") return { text: question, addSpecialTokens: true };
    const missing = this.placeholders(question) > 0 ? 0 : images;
    if (this.#template !== undefined) return this.#chat(this.#template, question, missing, images);
    if (format === "chat") return noTemplate();
    if (this.imageWord === undefined) return { text: question, addSpecialTokens: true };
    return { text: `USER: ${`${this.imageWord}\n`.repeat(missing)}${question} ASSISTANT:`, addSpecialTokens: true };
  }

  encode({ text, addSpecialTokens }: PromptText): readonly number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens });
  }

  /**
   * Templates of processors walk a list of parts, those of plain tokenizers add up strings. A template shows which it
   * is by what it makes of a list: the question and every placeholder must be in the text.
   */
  async #chat(template: ChatTemplate, question: string, missing: number, images: number): Promise<PromptText> {
    const bos = this.#tokenizer.bosToken;
    const plain = `${`${this.imageWord}\n`.repeat(missing)}${question}`;
    if (this.imageWord === undefined) {
      const text = await renderChat(template, [{ role: "user", content: plain }], this.#tokenizer);
      return { text, addSpecialTokens: false };
    }
    const pictures = new Array<{ type: "image" }>(missing).fill({ type: "image" });
    const parts = [...pictures, { type: "text" as const, text: question }];
    const fits = (text: string): boolean => text.includes(question.trim()) && this.placeholders(text) === images;
    const listed = await renderChat(template, [{ role: "user", content: parts }], this.#tokenizer).catch(() => "");
    const text = fits(listed)
      ? listed
      : await renderChat(template, [{ role: "user", content: plain }], this.#tokenizer);
    return { text, addSpecialTokens: bos === undefined || !text.startsWith(bos) };
  }
}

/** Token ids of a batch as the decoder takes them. */
export interface PromptBatch {
  /** Ids below vocab_size are words; vocab_size + r is row r of the prompt table. */
  readonly prompts: readonly (readonly number[])[];
  /** Rows of the prompt table. */
  readonly tableRows: number;
}

/**
 * Replaces each image placeholder by the prompt-table ids of its features, vocab_size + 0, 1, 2 … over the whole batch:
 * every image of every item has rows of its own, so one task (0) serves all. Placeholders that a Hugging Face processor
 * has already repeated once a feature are taken one by one.
 * @throws MmtrtError RUN012 placeholders ≠ images; RUN013 an id outside the vocabulary.
 */
export function placeImages(
  items: readonly { readonly ids: readonly number[]; readonly images: number }[],
  model: EngineModel,
  at: string,
): PromptBatch {
  const problems: Problem[] = [];
  const features = model.num_visual_features;
  let row = 0;
  const prompts = items.map(({ ids, images }, item) => {
    const outside = ids.find(id => id < 0 || id >= model.vocab_size);
    if (outside !== undefined) problems.push(outsideVocabulary(outside, item, model, at));
    const found = model.image_token_id === null ? 0 : ids.filter(id => id === model.image_token_id).length;
    const repeat = found === images ? features : found === images * features ? 1 : 0;
    if (found > 0 || images > 0) {
      if (repeat === 0) problems.push(placeholderMismatch(found, images, item, features, at));
    }
    return ids.flatMap(id => {
      if (id !== model.image_token_id) return [id];
      return Array.from({ length: repeat }, () => model.vocab_size + row++);
    });
  });
  throwIfAny(problems);
  return { prompts, tableRows: row };
}

function placeholderMismatch(found: number, images: number, item: number, features: number, at: string): Problem {
  return {
    code: "RUN012",
    what: `prompt ${item + 1} has ${found} image placeholders for ${images} images; expected ${images} (or ${images * features}, one a feature)`,
    at,
    why: "each placeholder is where one image's visual features go",
    fix: "write the placeholder as often as there are images, or not at all to have it put first",
  };
}

function outsideVocabulary(id: number, item: number, model: EngineModel, at: string): Problem {
  return {
    code: "RUN013",
    what: `prompt ${item + 1} has token id ${id}; the model knows 0 to ${model.vocab_size - 1}`,
    at,
    why: "ids above the vocabulary are rows of the prompt table, which mmtrt fills with visual features",
    fix: "give ids of this model's tokenizer, with the image token where an image belongs",
  };
}

function noTemplate(): never {
  return fail({
    code: "RUN007",
    what: "the model has no chat template; --prompt_format chat needs one",
    at: "--prompt_format",
    why: "the checkpoint came without chat_template in its tokenizer or processor files",
    fix: "--prompt_format raw, with the whole prompt in --input_text",
  });
}
