import { fail } from "../diagnostics/index.ts";
import type { RequestSize } from "./decoder-limits.ts";
import type { Decoding } from "./decoding.ts";
import { searchBeams } from "./generate/beam.ts";
import { type SearchHooks, searchTokens } from "./generate/greedy.ts";
import type { Generated, GenerateOptions } from "./generate/options.ts";
import type { PixelValues } from "./image/preprocess.ts";
import type { Features } from "./prompt-table.ts";
import type { ReuseStats } from "./reuse/prefix-cache.ts";
import type { RunnableEngine } from "./runnable.ts";

/** A batch whose answers are wanted: token ids and pixels, no words. */
export interface GenerationRequest {
  /** Ids ≥ vocab_size are rows of the images' features; empty where a model reads pictures alone. */
  readonly prompts: readonly (readonly number[])[];
  /** What counts as seen before each answer: the prompt with its placeholders, or a start token. */
  readonly seen: readonly (readonly number[])[];
  readonly pixels: readonly PixelValues[];
  /** Each row's adapter; −1 is none. */
  readonly tasks: readonly number[];
  readonly options: GenerateOptions;
  readonly hooks: SearchHooks;
}

/** Bytes that a device holds, by what for; those of engines are what their opening took. */
export type DeviceMemory = Readonly<Record<string, unknown>>;

export interface Generation {
  readonly generated: readonly Generated[];
  /** 0 without images. */
  readonly visualMs: number;
  readonly prefillMs: number;
  /** One for each decode step of the batch. */
  readonly decodeMs: readonly number[];
  readonly reusedTokens: number;
  /** There where the device keeps an account. */
  readonly memory?: DeviceMemory;
}

/** An engine directory that answers, wherever it runs. */
export interface AnswerSession {
  readonly engine: RunnableEngine;
  /** What was reused so far; undefined where nothing is kept. */
  readonly reuse: ReuseStats | undefined;
  /** First token of every answer of an encoder-decoder, which is not part of it. */
  readonly startToken?: number;
  /** Names of the adapters by task uid; undefined for an engine without adapter inputs. */
  readonly adapters: readonly string[] | undefined;
  /** @throws MmtrtError RUN010 for a request that no profile takes. */
  check(size: RequestSize, at: string): void;
  /** Most new tokens that the engine has room for after prompts of so many tokens. */
  longestAnswer(promptTokens: number): number;
  /** Vision encoder, prefill, decode. Call `check` first. */
  generate(request: GenerationRequest): Promise<Generation>;
  close(): Promise<void>;
}

/** What a session in this process does one after the other. */
export interface Stages {
  encodeImages(images: readonly PixelValues[]): Promise<Features>;
  prefill(
    prompts: readonly (readonly number[])[],
    features: Features | undefined,
    tasks: readonly number[],
  ): Promise<Decoding>;
}

/** A whole request over stages in this process. */
export async function generateIn(stages: Stages, request: GenerationRequest): Promise<Generation> {
  const { prompts, seen, pixels, tasks, options, hooks } = request;
  const [features, visualMs] = pixels.length > 0 ? await timed(() => stages.encodeImages(pixels)) : [undefined, 0];
  const [decoding, prefillMs] = await timed(() => stages.prefill(prompts, features, tasks));
  const decodeMs: number[] = [];
  const search = options.numBeams > 1 ? searchBeams : searchTokens;
  const all = {
    ...hooks,
    onStep(ms: number) {
      decodeMs.push(ms);
      hooks.onStep?.(ms);
    },
  };
  const generated = await search(decoding, seen, options, all).finally(() => decoding.close());
  return { generated, visualMs, prefillMs, decodeMs, reusedTokens: decoding.reusedTokens };
}

async function timed<T>(run: () => Promise<T>): Promise<readonly [T, number]> {
  const start = performance.now();
  const value = await run();
  return [value, performance.now() - start];
}

/** Of any kind of session. */
export function takesNoImages(dir: string): never {
  return fail({
    code: "RUN015",
    what: `the model in ${dir} takes no images`,
    at: "--image",
    why: "it is a language model without a vision encoder",
    fix: "leave --image out, or build a multimodal model",
  });
}
