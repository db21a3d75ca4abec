import { type Problem, throwIfAny } from "../diagnostics/index.ts";
import type { SearchHooks } from "./generate/greedy.ts";
import type { FinishReason, GenerateOptions } from "./generate/options.ts";
import { isRepeating } from "./generate/repetition.ts";
import type { AnswerSession, DeviceMemory } from "./generation.ts";
import { readGenerationConfig } from "./generation-config.ts";
import type { PixelValues } from "./image/preprocess.ts";
import { NO_ADAPTER } from "./lora/bank.ts";
import { type PromptBatch, type PromptItem, placeImages } from "./prompt.ts";
import { AnswerText } from "./text/answer-text.ts";
import type { TextTokenizer } from "./text/tokenizer.ts";

/** A prompt in token ids, and its pictures. */
export interface Question {
  readonly ids: readonly number[];
  readonly pixels: readonly PixelValues[];
  /** Which adapter answers; −1 and absent: none. */
  readonly task?: number;
}

export interface Answer {
  /** undefined without a tokenizer. */
  readonly text: string | undefined;
  /** New tokens, an end token included. */
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  /** Of beam search: the sum of log probabilities, with the length penalty. */
  readonly score?: number;
}

/** Milliseconds; visual is 0 without images. */
export interface Timing {
  readonly visualMs: number;
  readonly prefillMs: number;
  /** One for each decode step of the batch. */
  readonly decodeMs: readonly number[];
  readonly promptTokens: number;
  /** Prompt tokens whose keys and values were known from an earlier prompt. */
  readonly reusedTokens: number;
  readonly newTokens: number;
}

export interface AnswerRequest {
  readonly session: AnswerSession;
  readonly tokenizer: TextTokenizer | undefined;
  readonly options: GenerateOptions;
  /** maxNewTokens was not asked for: it gives way to what the engine has room for. */
  readonly yields?: boolean;
  /** Where the user wrote the request, for problems. */
  readonly at: string;
  /** Text of an item as it grows; not called by beam search, which may take words back. */
  readonly onText?: (item: number, text: string) => void;
  readonly signal?: AbortSignal;
}

export interface Answers {
  readonly answers: readonly Answer[];
  readonly timing: Timing;
  /** The limit that held. */
  readonly maxNewTokens: number;
  /** Of the device after the request, where it keeps an account. */
  readonly memory?: DeviceMemory;
}

/**
 * Answers a batch: vision encoder, prefill, decode. All of the request is checked before anything runs.
 * @throws MmtrtError RUN010, RUN012, RUN013, RUN015 for the request; NUM001 when logits are not numbers.
 */
export async function answer(questions: readonly Question[], request: AnswerRequest): Promise<Answers> {
  const { session, signal, at } = request;
  const { prompts, tableRows, promptTokens } = promptsOf(questions, request);
  const options = request.yields ? shortened(request.options, session.longestAnswer(promptTokens)) : request.options;
  const size = { batch: prompts.length, beams: options.numBeams, newTokens: options.maxNewTokens };
  session.check({ ...size, promptTokens, tableRows }, at);
  signal?.throwIfAborted();

  const texts = new Texts(questions.length, { ...request, options });
  const { generated, ...measured } = await session.generate({
    prompts,
    // What counts as seen is what the decoder has seen: of an encoder-decoder its start token.
    seen: questions.map(({ ids }) => (session.startToken === undefined ? ids : [session.startToken])),
    pixels: questions.flatMap(question => question.pixels),
    tasks: questions.map(({ task }) => task ?? NO_ADAPTER),
    options,
    hooks: { ...texts.hooks(), ...(signal && { signal }) },
  });
  const answers = generated.map((entry, item) => ({ ...entry, text: texts.of(item, entry.tokenIds) }));
  const newTokens = answers.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  const allPromptTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const { memory, ...times } = measured;
  const timing = { ...times, promptTokens: allPromptTokens, newTokens };
  return { answers, timing, maxNewTokens: options.maxNewTokens, ...(memory && { memory }) };
}

function shortened(options: GenerateOptions, room: number): GenerateOptions {
  return room < options.maxNewTokens ? { ...options, maxNewTokens: room } : options;
}

/** What the encoder or decoder takes; a model without a prompt has an image's features instead of one. */
function promptsOf(
  questions: readonly Question[],
  { session, at }: AnswerRequest,
): PromptBatch & { readonly promptTokens: number } {
  const { model } = session.engine.manifest;
  if (model.encoder_decoder?.has_text_encoder === false) {
    throwIfAny(
      questions.flatMap(({ pixels }, item) => (pixels.length === 1 ? [] : [needsOneImage(item, pixels.length, at)])),
    );
    return { prompts: questions.map(() => []), tableRows: 0, promptTokens: model.num_visual_features };
  }
  const items = questions.map(promptItem);
  const batch = placeImages(items, model, at);
  return { ...batch, promptTokens: Math.max(...batch.prompts.map(prompt => prompt.length)) };
}

/** What `placeImages` takes of a question. */
export function promptItem({ ids, pixels }: Pick<Question, "ids" | "pixels">): PromptItem {
  const features = pixels.flatMap(({ tokens }) => tokens?.features ?? []);
  return { ids, images: pixels.length, ...(features.length > 0 && { features }) };
}

function needsOneImage(item: number, images: number, at: string): Problem {
  return {
    code: "RUN012",
    what: `item ${item + 1} has ${images} images; expected 1`,
    at,
    why: "the model reads one picture and takes no prompt",
    fix: "give one --image for each answer",
  };
}

/** End tokens: generation_config.json's, which may name more of them than config.json. */
export async function endTokens(session: AnswerSession): Promise<readonly number[]> {
  const { manifest, tokenizerDir } = session.engine;
  const { eos_token_id: ids } = await readGenerationConfig(tokenizerDir);
  const list = (Array.isArray(ids) ? ids : [ids]).filter((id): id is number => Number.isSafeInteger(id));
  return list.length > 0 ? list : manifest.model.eos_token_ids;
}

/** Texts of a batch: grown token by token in greedy search and sampling, decoded at the end by beam search. */
class Texts {
  readonly #request: AnswerRequest;
  readonly #growing: readonly AnswerText[] | undefined;

  constructor(items: number, request: AnswerRequest) {
    this.#request = request;
    if (request.tokenizer !== undefined && request.options.numBeams === 1) {
      this.#growing = Array.from({ length: items }, () => this.#new() as AnswerText);
    }
  }

  hooks(): SearchHooks {
    const growing = this.#growing;
    // A model that reads pages falls into repeating a line where it cannot read on.
    const reads = this.#request.session.engine.manifest.model.encoder_decoder?.has_text_encoder === false;
    const repeats = (tokens: readonly number[]): boolean => reads && isRepeating(tokens);
    if (growing === undefined) {
      if (this.#request.options.stop.length === 0 && !reads) return {};
      return { endsAnswer: (item, tokens) => repeats(tokens) || this.#endsBeam(item, tokens) };
    }
    return {
      onToken: ({ item, token }) => {
        if (!this.#request.options.eosTokenIds.includes(token)) this.#show(item, growing[item]?.push(token) ?? "");
      },
      endsAnswer: (item, tokens) => growing[item]?.stopped === true || repeats(tokens),
    };
  }

  of(item: number, tokens: readonly number[]): string | undefined {
    const growing = this.#growing?.[item];
    if (growing === undefined) return this.#whole(tokens)?.text;
    this.#show(item, growing.end());
    return growing.text;
  }

  readonly #endsBeam = (_item: number, tokens: readonly number[]): boolean => this.#whole(tokens)?.stopped === true;

  #whole(tokens: readonly number[]): AnswerText | undefined {
    const text = this.#new();
    for (const token of tokens) if (!this.#request.options.eosTokenIds.includes(token)) text?.push(token);
    text?.end();
    return text;
  }

  #new(): AnswerText | undefined {
    const { tokenizer, options, session } = this.#request;
    const sees = session.engine.manifest.model.num_visual_features > 0;
    return tokenizer && new AnswerText(tokenizer, options.stop, sees);
  }

  #show(item: number, text: string): void {
    if (text !== "") this.#request.onText?.(item, text);
  }
}
