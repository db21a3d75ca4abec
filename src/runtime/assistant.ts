import { fail, MmtrtError } from "../diagnostics/index.ts";
import { tokensBeside } from "../vision/index.ts";
import { type Answers, answer, endTokens, type Question } from "./answer.ts";
import type { GenerateOptions } from "./generate/options.ts";
import type { AnswerSession } from "./generation.ts";
import { pairTokens } from "./generation-config.ts";
import { loadImage, openImageProcessor } from "./image/load.ts";
import type { PixelValues } from "./image/preprocess.ts";
import type { ImageProcessorConfig } from "./image/processor-config.ts";
import { type PromptFormat, PromptWriter } from "./prompt.ts";
import { type OpenDecoder, openSession, type Session, type SessionOptions } from "./session.ts";
import { findChatTemplate } from "./text/chat.ts";
import { openTokenizer, type TextTokenizer } from "./text/tokenizer.ts";

export interface AskOptions {
  readonly generate: Omit<GenerateOptions, "eosTokenIds">;
  /** generate.maxNewTokens was not asked for: it gives way to what the engine has room for. */
  readonly yields?: boolean;
  readonly at: string;
  readonly onText?: (item: number, text: string) => void;
  readonly signal?: AbortSignal;
}

/** An engine with what is needed to talk to it in words and pictures; the last two are opened when first asked for. */
export class Assistant<Runs extends AnswerSession = AnswerSession> {
  readonly session: Runs;
  readonly #ends: Pick<GenerateOptions, "eosTokenIds" | "forcedBosTokenId" | "forcedEosTokenId">;
  #tokenizer: Promise<TextTokenizer> | undefined;
  #writer: Promise<PromptWriter> | undefined;
  #processor: Promise<ImageProcessorConfig> | undefined;
  readonly #images = new Map<string, Promise<PixelValues>>();
  /** Of models that see several pictures of a prompt in another way than one. */
  readonly #imagesBeside = new Map<string, Promise<PixelValues>>();

  private constructor(
    session: Runs,
    ends: Pick<GenerateOptions, "eosTokenIds" | "forcedBosTokenId" | "forcedEosTokenId">,
  ) {
    this.session = session;
    this.#ends = ends;
  }

  static async open(dir: string, options: SessionOptions, openDecoder?: OpenDecoder): Promise<Assistant<Session>> {
    return Assistant.over(await openSession(dir, options, openDecoder));
  }

  /** The same over an engine that is open already, which it closes. */
  static async over<Runs extends AnswerSession>(session: Runs): Promise<Assistant<Runs>> {
    const { start: _, ...forced } = (await pairTokens(session.engine)) ?? { start: 0 };
    return new Assistant(session, { ...forced, eosTokenIds: await endTokens(session) });
  }

  /** Errors: RUN005, RUN006. */
  tokenizer(): Promise<TextTokenizer> {
    this.#tokenizer ??= this.#filesDir().then(openTokenizer);
    return this.#tokenizer;
  }

  /** Errors: RUN005, RUN006, RUN007. */
  writer(): Promise<PromptWriter> {
    this.#writer ??= this.#openWriter();
    return this.#writer;
  }

  /** A picture as the vision encoder takes it, alone in its prompt or not; each file is read once. Errors: RUN001–RUN004, RUN017. */
  image(file: string, isOneOfSeveral = false): Promise<PixelValues> {
    this.#processor ??= this.#filesDir().then(openImageProcessor);
    const processor = this.#processor;
    const { visual_tokens: rule } = this.session.engine.manifest.model;
    const differs = isOneOfSeveral && rule !== undefined && tokensBeside(rule) !== undefined;
    const known = differs ? this.#imagesBeside : this.#images;
    const loaded = known.get(file) ?? processor.then(config => loadImage(file, config, rule, differs));
    known.set(file, loaded);
    return loaded;
  }

  /** What one step of 255 is in the pixels that the processor gives. */
  async pixelStep(): Promise<number> {
    this.#processor ??= this.#filesDir().then(openImageProcessor);
    const { rescale = 1, normalize } = await this.#processor;
    return rescale / Math.min(1, ...(normalize?.std ?? []));
  }

  /** Pictures are forgotten; for long runs over many. */
  forgetImages(): void {
    this.#images.clear();
    this.#imagesBeside.clear();
  }

  /** Token ids of a question about pictures (or so many of them, where every one brings the same), in the model's prompt. */
  async promptIds(
    question: string,
    images: number | readonly PixelValues[],
    format: PromptFormat,
  ): Promise<readonly number[]> {
    const writer = await this.writer();
    const [count, seen] = typeof images === "number" ? [images, []] : [images.length, images];
    const tokens = seen.flatMap(image => image.tokens ?? []);
    return writer.encode(await writer.write(question, count, format), tokens);
  }

  /** The pictures of one prompt. */
  images(files: readonly string[]): Promise<readonly PixelValues[]> {
    return Promise.all(files.map(file => this.image(file, files.length > 1)));
  }

  /** A question in words about pictures in files. Errors: those of `promptIds` and `image`. */
  async question(text: string, files: readonly string[], format: PromptFormat): Promise<Question> {
    const pixels = await this.images(files);
    return { ids: await this.promptIds(text, pixels, format), pixels };
  }

  /** Answers a batch. Without a tokenizer the answers are token ids only. */
  async ask(
    questions: readonly Question[],
    { generate, yields = false, at, onText, signal }: AskOptions,
  ): Promise<Answers> {
    const tokenizer = await this.tokenizer().catch(error => {
      // Ids in, ids out is fine without a tokenizer; stop texts, or one that is there and broken, are not.
      if (generate.stop.length > 0 || !isMissingTokenizer(error)) throw error;
      return undefined;
    });
    return answer(questions, {
      session: this.session,
      tokenizer,
      options: { ...generate, ...this.#ends },
      yields,
      at,
      ...(onText && { onText }),
      ...(signal && { signal }),
    });
  }

  close(): Promise<void> {
    return this.session.close();
  }

  async #openWriter(): Promise<PromptWriter> {
    const tokenizer = await this.tokenizer();
    const template = await findChatTemplate(await this.#filesDir(), tokenizer);
    return new PromptWriter(tokenizer, template, this.session.engine.manifest.model);
  }

  async #filesDir(): Promise<string> {
    const { tokenizerDir, dir } = this.session.engine;
    if (tokenizerDir !== undefined) return tokenizerDir;
    return fail({
      code: "RUN005",
      what: `${dir} has no tokenizer directory: the model was converted without tokenizer and processor files`,
      at: `${dir}/tokenizer`,
      why: "text and pictures cannot be turned into what the model takes",
      fix: "give --input_ids FILE and --pixel_values FILE, or convert from a directory with these files",
    });
  }
}

function isMissingTokenizer(error: unknown): boolean {
  return error instanceof MmtrtError && error.problems.every(problem => problem.code === "RUN005");
}
