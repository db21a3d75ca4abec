import { fail, MmtrtError, type Problem, throwIfAny } from "../../diagnostics/index.ts";
import type { Assistant } from "../assistant.ts";
import { GENERATE_DEFAULTS } from "../generate/options.ts";
import { Random } from "../generate/sample.ts";
import type { PromptFormat } from "../prompt.ts";
import { answersKey, passkeyPrompt, passkeyText } from "./prompt.ts";
import type { AskedKey } from "./report.ts";

export interface PasskeyRequest {
  /** Tokens of prompt and answer together; each must be one that `checkLengths` takes. */
  readonly contextLengths: readonly number[];
  /** Where the key stands, in percent of the filler. */
  readonly depths: readonly number[];
  /** Keys for each length and depth. */
  readonly samples: number;
  readonly seed: number;
  readonly format: PromptFormat;
  /** Where the lengths were written. */
  readonly at: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** A chat model says a few words around the number. */
const CHAT_WORDS = 32;

/** Five digits, the first of them no zero, which tokenizers and models drop. */
const KEYS = { first: 10_000, count: 90_000 };

/**
 * Hides keys in texts of each length and asks for them, one text at a time.
 * @throws MmtrtError RUN034 for lengths without room for the question; RUN005, RUN006 without a tokenizer.
 */
export async function findPasskeys(assistant: Assistant, request: PasskeyRequest): Promise<readonly AskedKey[]> {
  const { contextLengths, depths, samples, seed, onProgress, signal } = request;
  const room = await answerRoom(assistant, request.format);
  const random = new Random(seed, 0);
  const places = contextLengths.flatMap(length =>
    depths.flatMap(depth => new Array<readonly [number, number]>(samples).fill([length, depth])),
  );
  const asked: AskedKey[] = [];
  for (const [length, depth] of places) {
    signal?.throwIfAborted();
    const key = String(KEYS.first + Math.floor(random.next() * KEYS.count));
    asked.push(await askFor(assistant, request, { length, depth, key, room }));
    onProgress?.(asked.length, places.length);
  }
  return asked;
}

async function askFor(
  assistant: Assistant,
  { format, at, signal }: PasskeyRequest,
  { length, depth, key, room }: { length: number; depth: number; key: string; room: number },
): Promise<AskedKey> {
  const encode = (text: string): Promise<readonly number[]> => assistant.promptIds(text, 0, format);
  const ids = (await passkeyPrompt(encode, length - room, depth / 100, key)) ?? fail(tooShort(length, at));
  const { answers, timing } = await assistant.ask([{ ids, pixels: [] }], {
    generate: { ...GENERATE_DEFAULTS, maxNewTokens: room },
    at,
    ...(signal && { signal }),
  });
  const answer = answers[0]?.text ?? "";
  const { prefillMs } = timing;
  return { length, depth, key, answer, found: answersKey(answer, key), promptTokens: ids.length, prefillMs };
}

/** Tokens that are left for the answer: a space or none, the number, what ends it. */
async function answerRoom(assistant: Assistant, format: PromptFormat): Promise<number> {
  const tokenizer = await assistant.tokenizer();
  const number = tokenizer.encode(` ${KEYS.first + 2345}.`, { addSpecialTokens: false }).length + 1;
  return format === "raw" ? number : number + CHAT_WORDS;
}

/**
 * Whether the engine takes every length, before anything runs.
 * @throws MmtrtError RUN010 with the parameter to build with; RUN034 for lengths that hold no question; RUN031 for an
 * encoder-decoder, whose prompt is not what its decoder remembers.
 */
export async function checkLengths(
  assistant: Assistant,
  { contextLengths, format, at }: Pick<PasskeyRequest, "contextLengths" | "format" | "at">,
): Promise<void> {
  if (assistant.session.startToken !== undefined) isPair();
  const room = await answerRoom(assistant, format);
  const question = await assistant.promptIds(passkeyText(0, 0, String(KEYS.first)), 0, format);
  const least = question.length + room;
  throwIfAny(
    contextLengths.flatMap(length =>
      length < least ? [tooShort(length, at)] : problemsOf(assistant, length, room, at),
    ),
  );
}

function problemsOf({ session }: Assistant, length: number, room: number, at: string): readonly Problem[] {
  const promptTokens = length - room;
  const limits = [
    ["max_seq_len", length],
    ["max_input_len", promptTokens],
  ] as const;
  const { build_config: build } = session.engine.llm;
  const passed = limits.filter(([key, tokens]) => tokens > build[key]);
  if (passed.length > 0) return [tooLong(length, promptTokens, build, passed, at)];
  try {
    session.check({ batch: 1, beams: 1, promptTokens, newTokens: room, tableRows: 0 }, `${at}: ${length}`);
    return [];
  } catch (error) {
    if (error instanceof MmtrtError) return error.problems;
    throw error;
  }
}

function tooLong(
  length: number,
  prompt: number,
  { max_seq_len, max_input_len }: { readonly max_seq_len: number; readonly max_input_len: number },
  passed: readonly (readonly [key: string, tokens: number])[],
  at: string,
): Problem {
  return {
    code: "RUN010",
    what: `a context of ${length} tokens, ${prompt} of them the prompt, is more than the engine takes: max_seq_len ${max_seq_len}, max_input_len ${max_input_len}`,
    at,
    why: "the engine has profiles up to the lengths that it was built for",
    fix: `build with ${passed.map(([key, tokens]) => `--${key} ${tokens}`).join(" ")} or more, or ask for shorter contexts`,
  };
}

/** Without lengths: the longest that the engine takes, its half and its quarter. */
export async function usualLengths(assistant: Assistant, format: PromptFormat): Promise<readonly number[]> {
  const { max_seq_len, max_input_len } = assistant.session.engine.llm.build_config;
  const longest = Math.min(max_seq_len, max_input_len + (await answerRoom(assistant, format)));
  return [Math.floor(longest / 4), Math.floor(longest / 2), longest];
}

function tooShort(length: number, at: string): Problem {
  return {
    code: "RUN034",
    what: `a context of ${length} tokens does not hold the question, the pass key and the answer`,
    at,
    why: "the lines around the filler take their own tokens, and the answer needs room too",
    fix: "ask for a few hundred tokens or more",
  };
}

function isPair(): never {
  return fail({
    code: "RUN031",
    what: "the engine is an encoder-decoder",
    at: "--engine_dir",
    why: "its decoder answers a prompt; it does not continue a text",
    fix: "mmtrt run --check_accuracy FILE, with questions and the answers that count as right",
  });
}
