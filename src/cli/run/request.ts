import { fail } from "../../diagnostics/index.ts";
import type { EngineModel } from "../../formats/engine-config.ts";
import type { RunOptions, runOptions } from "../../options/tables/run.ts";
import { type Answers, promptItem, type Question, type Timing } from "../../runtime/answer.ts";
import type { AskOptions, Assistant } from "../../runtime/assistant.ts";
import { readPixelValues } from "../../runtime/image/load.ts";
import type { PixelValues } from "../../runtime/image/preprocess.ts";
import { promptLength } from "../../runtime/prompt.ts";
import { pairUp, type RequestItem, readInputIds } from "../../runtime/request.ts";
import type { CommandContext } from "../command.ts";
import type { EventData, Ui } from "../ui.ts";
import { forEachTask, withTasks } from "./adapters.ts";
import { pictureFiles } from "./old-flags.ts";
import { seesTogether, withPairing } from "./pairing.ts";
import { placeholderCounter } from "./placeholders.ts";
import { noteReuse, reuseData } from "./reuse.ts";
import { noteWindow } from "./window-note.ts";

export type RunContext = CommandContext<typeof runOptions>;

/** Answers the prompts of the command line, streaming the text where there is one answer. */
export async function runRequest(assistant: Assistant, context: RunContext): Promise<void> {
  const { options, ui, signal, origin } = context;
  const questions = withTasks(forEachTask(await questionsOf(assistant, options, origin), options), assistant, context);
  noteWindow(assistant, longestContext(assistant, questions, options.max_new_tokens), ui);
  const single = questions.length === 1 && options.num_beams === 1;
  const streams = options.stream && single;
  const asking = {
    ...askOptions(context),
    signal,
    ...(streams && { onText: (_item: number, text: string) => ui.stream(text) }),
  };
  const parts: Answers[] = [];
  for (const batch of batchesOf(questions, options.batch_size))
    parts.push(await withPairing(assistant, context, () => assistant.ask(batch, asking)));
  show(ui, merged(parts), streams, reuseData(assistant.session));
  noteReuse(assistant.session, ui);
}

/** Tokens of the longest prompt, each placeholder of an image counted as its features, and of its answer. */
export function longestContext(assistant: Assistant, questions: readonly Question[], newTokens: number): number {
  const { model } = assistant.session.engine.manifest;
  return newTokens + Math.max(...questions.map(question => promptLength(promptItem(question), model)));
}

/** The prompts and pictures of the command line, as token ids and pixels. */
export async function questionsOf(
  assistant: Assistant,
  options: RunOptions,
  origin: (key: string) => string,
): Promise<readonly Question[]> {
  checkSources(options, origin);
  const { model } = assistant.session.engine.manifest;
  const seesOnly = model.encoder_decoder?.has_text_encoder === false;
  if (seesOnly) refusePrompts(options, origin);
  checkPictures(model, options, origin);
  const given = options.input_ids === undefined ? (options.input_text ?? []) : await readInputIds(options.input_ids);
  // An empty prompt for each picture: the decoder starts by itself.
  const prompts: readonly (string | readonly number[])[] = seesOnly ? [[]] : given;
  const { files, together } = pictureFiles(options, origin);
  const pixels =
    options.pixel_values === undefined ? undefined : await readPixelValues(options.pixel_values, model.visual_tokens);
  const writer = prompts.some(prompt => typeof prompt === "string") ? await assistant.writer() : undefined;
  // Only ids are counted against what each image brings.
  const known = prompts.every(prompt => typeof prompt === "string")
    ? []
    : (pixels ?? (await Promise.all(files.map(file => assistant.image(file)))));
  const items = pairUp({
    prompts,
    imageCount: pixels?.length ?? files.length,
    together: together || seesTogether(assistant),
    placeholders: placeholderCounter(model, writer, known, pixels === undefined),
  });
  const image = (index: number, isOneOfSeveral: boolean): Promise<PixelValues> | PixelValues =>
    pixels === undefined ? assistant.image(files[index] as string, isOneOfSeveral) : (pixels[index] as PixelValues);
  const questions = await Promise.all(items.map(item => questionOf(assistant, item, image, options)));
  return questions.length === 1
    ? new Array<Question>(options.batch_size ?? 1).fill(questions[0] as Question)
    : questions;
}

async function questionOf(
  assistant: Assistant,
  { prompt, images }: RequestItem,
  image: (index: number, isOneOfSeveral: boolean) => Promise<PixelValues> | PixelValues,
  options: RunOptions,
): Promise<Question> {
  const pixels = await Promise.all(images.map(index => image(index, images.length > 1)));
  const ids = typeof prompt === "string" ? await assistant.promptIds(prompt, pixels, options.prompt_format) : prompt;
  return { ids, pixels };
}

/** max_new_tokens that nobody typed is a default, which an engine with less room must not refuse. */
export function askOptions({ options, origin, given }: Pick<RunContext, "options" | "origin" | "given">): AskOptions {
  return {
    yields: !given("max_new_tokens"),
    at: origin(
      (["input_ids", "input_text", "pixel_values"] as const).find(key => options[key] !== undefined) ?? "image",
    ),
    generate: {
      maxNewTokens: options.max_new_tokens,
      minNewTokens: options.min_new_tokens,
      numBeams: options.num_beams,
      topK: options.top_k,
      topP: options.top_p,
      temperature: options.temperature,
      repetitionPenalty: options.repetition_penalty,
      noRepeatNgramSize: options.no_repeat_ngram_size,
      lengthPenalty: options.length_penalty,
      earlyStopping: options.early_stopping,
      seed: options.seed,
      stop: options.stop ?? [],
    },
  };
}

export function batchesOf<T>(items: readonly T[], size: number | undefined): readonly (readonly T[])[] {
  const batch = size ?? items.length;
  return Array.from({ length: Math.ceil(items.length / batch) }, (_, i) => items.slice(i * batch, (i + 1) * batch));
}

export function merged(parts: readonly Answers[]): Answers {
  return {
    answers: parts.flatMap(({ answers }) => answers),
    timing: mergeTimings(parts.map(({ timing }) => timing)),
    maxNewTokens: Math.min(...parts.map(({ maxNewTokens }) => maxNewTokens)),
  };
}

function mergeTimings(timings: readonly Timing[]): Timing {
  const sum = (key: "visualMs" | "prefillMs" | "promptTokens" | "reusedTokens" | "newTokens"): number =>
    timings.reduce((total, timing) => total + timing[key], 0);
  return {
    visualMs: sum("visualMs"),
    prefillMs: sum("prefillMs"),
    decodeMs: timings.flatMap(timing => timing.decodeMs),
    promptTokens: sum("promptTokens"),
    reusedTokens: sum("reusedTokens"),
    newTokens: sum("newTokens"),
  };
}

/** The event of DESIGN §6. */
export function resultData({ answers, timing, maxNewTokens }: Answers): Readonly<Record<string, unknown>> {
  return {
    outputs: answers.map(({ text, tokenIds, finishReason, score }) => ({
      text: text ?? null,
      token_ids: tokenIds,
      finish_reason: finishReason,
      ...(score !== undefined && { score }),
    })),
    max_new_tokens: maxNewTokens,
    timing: {
      visual_ms: round(timing.visualMs),
      prefill_ms: round(timing.prefillMs),
      decode_ms: timing.decodeMs.map(round),
    },
  };
}

function show(ui: Ui, all: Answers, streamed: boolean, reuse: EventData): void {
  const { answers } = all;
  if (!ui.json && streamed && answers[0]?.text !== undefined) {
    ui.stream("\n");
    return;
  }
  const lines = answers.map(({ text, tokenIds }, i) => {
    const shown = text ?? tokenIds.join(" ");
    return answers.length === 1 ? shown : `[${i + 1}] ${shown}`;
  });
  ui.result(lines.join("\n"), { ...resultData(all), ...reuse });
}

function checkSources(options: RunOptions, origin: (key: string) => string): void {
  const twice = [
    ["input_text", "input_ids", options.input_text, options.input_ids],
    ["image", "pixel_values", options.image, options.pixel_values],
  ] as const;
  for (const [first, second, a, b] of twice) {
    if (a === undefined || b === undefined) continue;
    fail({
      code: "RUN016",
      what: `both --${first} and --${second} are given; expected one of them`,
      at: origin(second),
      why: "they are two forms of the same thing, and which one counts is not guessed",
      fix: `leave out --${first} or --${second}`,
    });
  }
}

/** Whether the model looks at pictures at all, and, where it reads nothing else, whether there is one. */
function checkPictures(model: EngineModel, { image, pixel_values }: RunOptions, origin: (key: string) => string): void {
  const given = image !== undefined || pixel_values !== undefined;
  const key = pixel_values === undefined ? "image" : "pixel_values";
  if (given && model.num_visual_features === 0) {
    fail({
      code: "RUN015",
      what: `--${key} is given; ${model.architecture} takes no images`,
      at: origin(key),
      why: "it is a language model without a vision encoder",
      fix: `leave out --${key}, or build a multimodal model`,
    });
  }
  if (!given && model.encoder_decoder?.has_text_encoder === false) {
    fail({
      code: "RUN016",
      what: `there is no picture to read; ${model.architecture} takes nothing else`,
      at: origin("image"),
      why: "its decoder starts with one fixed token and attends to the picture",
      fix: "--image page.png",
    });
  }
}

function refusePrompts({ input_text, input_ids }: RunOptions, origin: (key: string) => string): void {
  if (input_text === undefined && input_ids === undefined) return;
  const key = input_text === undefined ? "input_ids" : "input_text";
  fail({
    code: "RUN022",
    what: `--${key} is given; the model takes pictures alone`,
    at: origin(key),
    why: "its decoder starts with one fixed token and attends to the picture; nothing reads a prompt",
    fix: `leave out --${key}`,
  });
}

/** Microseconds are as fine as the clock is worth. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
