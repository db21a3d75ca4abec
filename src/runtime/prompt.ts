import { fail, type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { EngineModel, EnginePrompt } from "../formats/engine-config.ts";
import { type ImageTokens, placeholderWord, promptPieces, tokenBounds } from "../vision/index.ts";
import { type ChatTemplate, renderChat } from "./text/chat.ts";
import type { TextTokenizer } from "./text/tokenizer.ts";

/** auto: the model's chat template, else the family's prompt; raw: the text as it is. */
export type PromptFormat = "auto" | "chat" | "raw";

export interface PromptText {
  readonly text: string;
  /** Whether the tokenizer adds its begin token, as Hugging Face does in the same place. */
  readonly addSpecialTokens: boolean;
  /** Images whose features come before the text, the begin token included. */
  readonly imagesBefore?: number;
}

/** LLaVA's, for models whose checkpoints say nothing else. */
const LLAVA_PROMPT: EnginePrompt = { template: "USER: {images}{question} ASSISTANT:" };

/** Turns questions into the prompt the model was trained with. */
export class PromptWriter {
  readonly #tokenizer: TextTokenizer;
  readonly #template: ChatTemplate | undefined;
  readonly #model: EngineModel;
  /** The word that stands for an image in text, `<image>`; undefined for a text-only model. */
  readonly imageWord: string | undefined;
  /** The word that stands for one of its features, the same for most models. */
  readonly #featureWord: string | undefined;

  constructor(tokenizer: TextTokenizer, template: ChatTemplate | undefined, model: EngineModel) {
    this.#tokenizer = tokenizer;
    this.#template = template;
    this.#model = model;
    const { image_token_id: id, prompt, visual_tokens: rule } = model;
    this.#featureWord = id === null ? undefined : (tokenizer.tokenOf(id) ?? prompt?.image_word);
    this.imageWord =
      this.#featureWord === undefined ? undefined : ((rule && placeholderWord(rule)) ?? this.#featureWord);
  }

  /** What to write for an image into a question: the word, with the marks about it where the model has some. */
  get pictureText(): string | undefined {
    return this.#picture ?? this.imageWord;
  }

  get #picture(): string | undefined {
    const { imageWord } = this;
    return imageWord && this.#model.prompt?.picture?.replace("{image}", () => imageWord);
  }

  /** Images that `text` itself asks for. */
  placeholders(text: string): number {
    return this.imageWord === undefined ? 0 : text.split(this.imageWord).length - 1;
  }

  /** The prompt for a question about `images` pictures, which come before it unless it places them itself. */
  async write(question: string, images: number, format: PromptFormat): Promise<PromptText> {
    const missing = this.placeholders(question) > 0 ? 0 : images;
    const { prompt } = this.#model;
    if (prompt?.images_first && format !== "chat") {
      const text = format === "raw" ? question : this.#asked(prompt, question);
      return { text, addSpecialTokens: !this.#hasBegin(text), imagesBefore: missing };
    }
    if (format === "raw") return { text: question, addSpecialTokens: true };
    if (this.#template !== undefined) return this.#chat(this.#template, question, missing, images);
    if (format === "chat") return noTemplate();
    if (this.imageWord === undefined) return { text: question, addSpecialTokens: true };
    const pictures = (this.#picture ?? `${this.imageWord}\n`).repeat(missing);
    return { text: filled(prompt ?? LLAVA_PROMPT, pictures, question), addSpecialTokens: true };
  }

  /** Of a model whose features come first: the words about a question fall away with it, and a begin token stands behind the last image. */
  #asked(prompt: EnginePrompt, question: string): string {
    if (!this.#hasBegin(prompt.template)) return question.trim() === "" ? question : filled(prompt, "", question);
    const last = this.imageWord === undefined ? -1 : question.lastIndexOf(this.imageWord);
    const after = last < 0 ? 0 : last + (this.imageWord?.length ?? 0);
    return question.slice(0, after) + filled(prompt, "", question.slice(after));
  }

  #hasBegin(text: string): boolean {
    const { bosToken } = this.#tokenizer;
    return bosToken !== undefined && text.includes(bosToken);
  }

  /** `images` in the order of their placeholders, where the model has markers about their features. */
  encode(prompt: PromptText, images: readonly ImageTokens[] = []): readonly number[] {
    const { addSpecialTokens, imagesBefore = 0 } = prompt;
    const text = this.#expanded(prompt.text, images);
    const { image_token_id: id } = this.#model;
    const before = id === null ? [] : new Array<number>(imagesBefore).fill(id);
    if (id === null || id >= 0 || this.imageWord === undefined)
      return [...before, ...this.#tokenizer.encode(text, { addSpecialTokens })];
    // A tokenizer that knows the word after all keeps the text around it in one piece.
    const word = this.#tokenizer.idOf(this.imageWord);
    if (word !== undefined) {
      const ids = this.#tokenizer.encode(text, { addSpecialTokens });
      return [...before, ...ids.map(one => (one === word ? id : one))];
    }
    // As LLaVA's own code does: each piece is tokenized for itself, and only the first keeps its begin token.
    const pieces = text.split(this.imageWord).map(piece => this.#tokenizer.encode(piece, { addSpecialTokens }));
    const { bosToken } = this.#tokenizer;
    const bos = bosToken === undefined ? undefined : this.#tokenizer.idOf(bosToken);
    const words = pieces.flatMap((ids, i) => {
      if (i === 0) return ids;
      return [id, ...(ids[0] === bos && pieces[0]?.[0] === bos ? ids.slice(1) : ids)];
    });
    return [...before, ...words];
  }

  /** As processors do it: in the text, so that line breaks join those beside them into the tokens they would be. */
  #expanded(text: string, images: readonly ImageTokens[]): string {
    const { visual_tokens: rule } = this.#model;
    const [word, feature] = [this.imageWord, this.#featureWord];
    if (rule === undefined || word === undefined || feature === undefined || !hasMarkers(this.#model)) return text;
    const [first = "", ...rest] = text.split(word);
    return rest.reduce((all, after, i) => {
      const image = images[i];
      const pieces = image === undefined ? [{ text: word }] : promptPieces(rule, image);
      return `${all}${pieces.map(piece => ("text" in piece ? piece.text : feature.repeat(piece.features))).join("")}${after}`;
    }, first);
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

/** The template around the question; a question that begins as the template does is a whole prompt already. */
function filled({ template }: EnginePrompt, pictures: string, question: string): string {
  const [lead = ""] = template.split(/\{images\}|\{question\}/);
  if (lead.trim() !== "" && question.trimStart().startsWith(lead.trim())) return question;
  // Functions, because a question may hold what `replace` takes for a pattern ($&).
  return template.replace("{images}", () => pictures).replace("{question}", () => question);
}

/** Token ids of a batch as the decoder takes them. */
export interface PromptBatch {
  /** Ids below vocab_size are words; vocab_size + r is row r of the prompt table. */
  readonly prompts: readonly (readonly number[])[];
  /** Rows of the prompt table. */
  readonly tableRows: number;
}

/** A prompt in token ids, and the images that its placeholders stand for. */
export interface PromptItem {
  readonly ids: readonly number[];
  readonly images: number;
  /** Features of each image, where they differ; absent: `num_visual_features` of each. */
  readonly features?: readonly number[] | undefined;
}

/**
 * Replaces each image placeholder by the prompt-table ids of its features, vocab_size + 0, 1, 2 … over the whole batch:
 * every image of every item has rows of its own, so one task (0) serves all. Placeholders that a Hugging Face processor
 * has already repeated once a feature are taken one by one.
 * @throws MmtrtError RUN012 placeholders ≠ images; RUN013 an id outside the vocabulary; RUN016 an empty prompt.
 */
export function placeImages(items: readonly PromptItem[], model: EngineModel, at: string): PromptBatch {
  const problems: Problem[] = [];
  let row = 0;
  const prompts = items.map(({ ids: given, images, features: each }, item) => {
    const features = each ?? new Array<number>(images).fill(model.num_visual_features);
    const all = features.reduce((sum, count) => sum + count, 0);
    const ids = withImagesFirst(given, images, model);
    if (ids.length === 0) problems.push(emptyPrompt(item, at));
    const outside = ids.find(id => (id < 0 || id >= model.vocab_size) && id !== model.image_token_id);
    if (outside !== undefined) problems.push(outsideVocabulary(outside, item, model, at));
    const found = model.image_token_id === null ? 0 : ids.filter(id => id === model.image_token_id).length;
    const whole = found === images && !hasMarkers(model);
    if (!whole && found !== all) problems.push(placeholderMismatch(found, images, item, all, model, at));
    let image = 0;
    return ids.flatMap(id => {
      if (id !== model.image_token_id) return [id];
      const repeat = whole ? (features[image++] ?? 0) : 1;
      return Array.from({ length: repeat }, () => model.vocab_size + row++);
    });
  });
  throwIfAny(problems);
  return { prompts, tableRows: row };
}

/** Tokens of a prompt with every image's features, placeholders repeated already or not. */
export function promptLength({ ids, images, features: each }: PromptItem, model: EngineModel): number {
  const found = ids.filter(id => id === model.image_token_id).length;
  const all = each?.reduce((sum, count) => sum + count, 0) ?? images * model.num_visual_features;
  return ids.length + (found <= images ? all - found : 0);
}

/** Ids of a model whose features come first may leave the placeholders out, as before transformers 4.46. */
function withImagesFirst(ids: readonly number[], images: number, model: EngineModel): readonly number[] {
  const { image_token_id: id, prompt } = model;
  if (!prompt?.images_first || id === null || ids.includes(id)) return ids;
  return [...new Array<number>(images).fill(id), ...ids];
}

function placeholderMismatch(
  found: number,
  images: number,
  item: number,
  features: number,
  model: EngineModel,
  at: string,
): Problem {
  const what = `prompt ${item + 1} has ${found} image placeholders for ${images} images`;
  if (hasMarkers(model)) {
    return {
      code: "RUN012",
      what: `${what}; expected ${features}, one a feature`,
      at,
      why: `${model.architecture} has tokens of its own around each tile's features, which ids must hold`,
      fix: "give the ids as the model's processor makes them, or the prompt as --input_text",
    };
  }
  return {
    code: "RUN012",
    what: `${what}; expected ${images} (or ${features}, one a feature)`,
    at,
    why: "each placeholder is where one image's visual features go",
    fix: "write the placeholder as often as there are images, or not at all to have it put first",
  };
}

/** An image has other tokens in the prompt than its features: rows and columns of tiles. */
function hasMarkers({ visual_tokens: rule }: EngineModel): boolean {
  if (rule === undefined) return false;
  const { features, tokens } = tokenBounds(rule).least;
  return tokens > features;
}

function emptyPrompt(item: number, at: string): Problem {
  return {
    code: "RUN016",
    what: `prompt ${item + 1} has no tokens; expected at least 1`,
    at,
    why: "an answer continues the prompt's last token",
    fix: "give a prompt that is not empty",
  };
}

function outsideVocabulary(id: number, item: number, model: EngineModel, at: string): Problem {
  return {
    code: "RUN013",
    what: `prompt ${item + 1} has token id ${id}; the model knows 0 to ${model.vocab_size - 1}`,
    at,
    why:
      model.num_visual_features > 0
        ? "ids above the vocabulary are rows of the prompt table, which mmtrt fills with visual features"
        : "the embedding table has one row for each token it knows",
    fix:
      model.num_visual_features > 0
        ? "give ids of this model's own tokenizer, with the image token where an image belongs"
        : "take this model's own tokenizer: ids like that come from another one",
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
