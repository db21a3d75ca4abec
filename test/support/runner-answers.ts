import { join } from "node:path";
import { expect } from "vitest";
import type { Answer, Question } from "../../src/runtime/answer.ts";
import { Assistant } from "../../src/runtime/assistant.ts";
import { GENERATE_DEFAULTS, type GenerateOptions } from "../../src/runtime/generate/options.ts";
import { inRunner } from "./runner.ts";

export const MODELS = new URL("../fixtures/models/", import.meta.url).pathname;
export const LLAVA = join(MODELS, "llava-shapes");
export const ADAPTERS = ["capitals", "italian"].map(name => join(MODELS, `../lora/llava-shapes-${name}`));
export const LIMITS = { max_batch_size: 4, max_beam_width: 3, max_input_len: 120, max_seq_len: 150 };

export type Asked = Readonly<Record<string, Partial<GenerateOptions>>>;

/** What is asked for in both places: each rule of choosing a token, and each way to end. */
export const ASKED: Asked = {
  greedy: {},
  beams: { numBeams: 3 },
  "beams with penalties": { numBeams: 2, lengthPenalty: 0.3, earlyStopping: true, repetitionPenalty: 1.2 },
  "penalties and a least length": { repetitionPenalty: 1.3, noRepeatNgramSize: 3, minNewTokens: 5 },
  "top-p sampling": { topK: 0, topP: 0.95, temperature: 2, seed: 11 },
  "top-k sampling": { topK: 7, temperature: 3, seed: 5 },
  "a stop text": { stop: ["circle"] },
  "beams with a stop text": { numBeams: 3, stop: ["tri"] },
  "forced tokens": { forcedBosTokenId: 303, forcedEosTokenId: 2, maxNewTokens: 6 },
};

export async function ask(
  assistant: Assistant,
  questions: readonly Question[],
  given: Partial<GenerateOptions>,
): Promise<readonly Answer[]> {
  const { forcedBosTokenId, forcedEosTokenId, ...options } = { ...GENERATE_DEFAULTS, maxNewTokens: 20, ...given };
  const generate = {
    ...options,
    ...(forcedBosTokenId !== undefined && { forcedBosTokenId }),
    ...(forcedEosTokenId !== undefined && { forcedEosTokenId }),
  };
  return (await assistant.ask(questions, { generate, at: "test" })).answers;
}

interface Places {
  /** The directory that the session of this process answers from. */
  readonly here: string;
  /** The one that the runner answers from. */
  readonly there: string;
  /** Digits of a beam search's score that are equal: all but the last of a power, or fewer where sums have another order. */
  readonly digits?: number;
}

/** Asks the same in this process and in a runner. */
export async function expectSame(
  runner: string,
  dirs: string | Places,
  questionsFor: (assistant: Assistant) => Promise<readonly Question[]>,
  asked: Asked = ASKED,
): Promise<void> {
  const { here, there, digits = 6 } = typeof dirs === "string" ? { here: dirs, there: dirs } : dirs;
  const comparable = (answers: readonly Answer[]): readonly unknown[] =>
    answers.map(({ score, ...answer }) => ({ ...answer, score: score?.toFixed(digits) }));
  const inProcess = await Assistant.open(here, { threads: 1 });
  const native = await inRunner(there, runner);
  try {
    const questions = await questionsFor(inProcess);
    for (const [name, given] of Object.entries(asked))
      expect(comparable(await ask(native, questions, given)), name).toEqual(
        comparable(await ask(inProcess, questions, given)),
      );
  } finally {
    await inProcess.close();
    await native.close();
  }
}

const PICTURES = ["demo.png", "demo-four.png"].map(name => join(LLAVA, name));
const TEXTS = ["Describe the image.", "What colour is the circle?", "What shape is red?"];

/** Three questions of different lengths about two pictures. */
export function questionsAbout(assistant: Assistant): Promise<readonly Question[]> {
  return Promise.all(
    TEXTS.map((text, i) => assistant.question(text, [PICTURES[i % PICTURES.length] as string], "auto")),
  );
}
