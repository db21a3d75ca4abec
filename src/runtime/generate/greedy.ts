import type { Decoding } from "../decoding.ts";
import type { FinishReason, Generated, GenerateOptions } from "./options.ts";
import { chooseToken, Random } from "./sample.ts";
import { adjustScores } from "./scores.ts";

export interface StepEvent {
  readonly item: number;
  readonly token: number;
}

export interface SearchHooks {
  /** Called with each new token as it is chosen; beam search, which may take tokens back, does not call it. */
  readonly onToken?: (event: StepEvent) => void;
  /** Whether an answer is complete, besides end tokens (a stop text). */
  readonly endsAnswer?: (item: number, tokens: readonly number[]) => boolean;
  /** Called before each decode step, which takes `ms`. */
  readonly onStep?: (ms: number) => void;
  readonly signal?: AbortSignal;
}

interface Item {
  readonly tokens: number[];
  readonly random: Random;
  finish: FinishReason | undefined;
}

/**
 * Greedy search or sampling, each row for itself. A row that is finished keeps its place until all are, and what it is
 * fed is seen by nobody.
 */
export async function searchTokens(
  decoding: Decoding,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  hooks: SearchHooks = {},
): Promise<readonly Generated[]> {
  const items: Item[] = prompts.map((_, i) => ({ tokens: [], random: new Random(options.seed, i), finish: undefined }));
  for (;;) {
    hooks.signal?.throwIfAborted();
    const next = items.map((item, row) => (item.finish === undefined ? advance(item, row) : 0));
    if (items.every(item => item.finish !== undefined)) break;
    const start = performance.now();
    await decoding.step(next);
    hooks.onStep?.(performance.now() - start);
  }
  return items.map(({ tokens, finish }) => ({ tokenIds: tokens, finishReason: finish ?? "length" }));

  function advance(item: Item, row: number): number {
    const logits = decoding.logits.subarray(row * decoding.vocab, (row + 1) * decoding.vocab);
    const seen = [...(prompts[row] as readonly number[]), ...item.tokens];
    const token = chooseToken(adjustScores(logits, seen, item.tokens.length, options), options, item.random);
    item.tokens.push(token);
    hooks.onToken?.({ item: row, token });
    if (options.eosTokenIds.includes(token) || hooks.endsAnswer?.(row, item.tokens) === true) item.finish = "stop";
    else if (item.tokens.length >= options.maxNewTokens) item.finish = "length";
    return token;
  }
}
