import type { Decoding } from "../decoding.ts";
import type { SearchHooks } from "./greedy.ts";
import type { Generated, GenerateOptions } from "./options.ts";
import { adjustScores, logSoftmax, topCandidates } from "./scores.ts";

/** Stands for "impossible", as in transformers: finite, so that sums of two stay ordered. */
const NEVER = -1e9;

interface Beam {
  readonly tokens: readonly number[];
  readonly score: number;
  /** Row of the decoding that holds its cache. */
  readonly row: number;
}

interface Hypothesis {
  readonly tokens: readonly number[];
  readonly score: number;
  readonly finished: boolean;
}

/** Whether an answer is complete. */
type Ends = (tokens: readonly number[]) => boolean;

/** The beams of one batch item. */
interface Item {
  running: readonly Beam[];
  finished: readonly Hypothesis[];
  done: boolean;
}

/**
 * Beam search with transformers' rules: 2 (or 1 + end tokens) × num_beams candidates a step, only those among the first
 * num_beams may end an answer, scores are divided by length ** length_penalty when they end, and an item is done when
 * the best running beam could not, at its present length, beat the worst finished one. Items do not influence each other.
 */
export async function searchBeams(
  decoding: Decoding,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
  hooks: SearchHooks = {},
): Promise<readonly Generated[]> {
  const { numBeams } = options;
  decoding.select(prompts.flatMap((_, item) => new Array<number>(numBeams).fill(item)));
  const items = prompts.map((_, item) => firstBeams(item, numBeams));
  const ends =
    (item: number): Ends =>
    tokens =>
      options.eosTokenIds.includes(tokens[tokens.length - 1] as number) || hooks.endsAnswer?.(item, tokens) === true;
  for (let length = 1; ; length++) {
    hooks.signal?.throwIfAborted();
    for (const [i, item] of items.entries()) {
      if (!item.done) advance(item, decoding, prompts[i] as readonly number[], length, options, ends(i));
    }
    if (items.every(item => item.done)) break;
    const running = items.flatMap(item => item.running);
    const start = performance.now();
    decoding.select(running.map(beam => beam.row));
    await decoding.step(running.map(beam => beam.tokens[beam.tokens.length - 1] as number));
    hooks.onStep?.(performance.now() - start);
    for (const [i, item] of items.entries()) {
      item.running = item.running.map((beam, k) => ({ ...beam, row: i * numBeams + k }));
    }
  }
  return items.map((item, i) => bestOf(item, ends(i)));
}

/** All beams begin alike, so only the first may be continued, or the candidates would be copies of each other. */
function firstBeams(item: number, numBeams: number): Item {
  const running = Array.from({ length: numBeams }, (_, k) => ({
    tokens: [],
    score: k === 0 ? 0 : NEVER,
    row: item * numBeams + k,
  }));
  const finished = running.map(() => ({ tokens: [], score: NEVER, finished: false }));
  return { running, finished, done: false };
}

/** One more token: `length` counts the new tokens, this one included. */
function advance(
  item: Item,
  decoding: Decoding,
  prompt: readonly number[],
  length: number,
  options: GenerateOptions,
  ends: Ends,
): void {
  const { numBeams, maxNewTokens } = options;
  const candidates = bestContinuations(item, decoding, prompt, options);
  const hits = candidates.map(({ tokens }) => length >= maxNewTokens || ends(tokens));
  const full = item.finished.every(hypothesis => hypothesis.finished);
  item.finished = keepBest(
    item,
    candidates,
    hits,
    options.earlyStopping && full ? [] : candidates.keys(),
    length,
    options,
  );
  item.running = candidates
    .map((beam, i) => (hits[i] === true ? { ...beam, score: beam.score + NEVER } : beam))
    .sort((a, b) => b.score - a.score)
    .slice(0, numBeams);
  item.done = hits.every(hit => hit) || isDone(item, length, options);
}

function bestContinuations(
  item: Item,
  decoding: Decoding,
  prompt: readonly number[],
  options: GenerateOptions,
): readonly Beam[] {
  const { vocab } = decoding;
  const count = Math.max(2, 1 + options.eosTokenIds.length) * options.numBeams;
  const all = new Float64Array(item.running.length * vocab);
  for (const [k, beam] of item.running.entries()) {
    const logProbs = logSoftmax(decoding.logits.subarray(beam.row * vocab, (beam.row + 1) * vocab));
    const scores = adjustScores(logProbs, [...prompt, ...beam.tokens], beam.tokens.length, options);
    for (let id = 0; id < vocab; id++) all[k * vocab + id] = (scores[id] as number) + beam.score;
  }
  return topCandidates(all, Math.min(count, all.length)).map(({ id, score }) => {
    const beam = item.running[Math.floor(id / vocab)] as Beam;
    return { tokens: [...beam.tokens, id % vocab], score, row: beam.row };
  });
}

/** The finished answers after this step. Only the first num_beams candidates may end: the rest are there to continue. */
function keepBest(
  item: Item,
  candidates: readonly Beam[],
  hits: readonly boolean[],
  allowed: Iterable<number>,
  length: number,
  { numBeams, lengthPenalty }: GenerateOptions,
): readonly Hypothesis[] {
  const ended = [...allowed]
    .filter(i => i < numBeams && hits[i] === true)
    .map(i => candidates[i] as Beam)
    .map(({ tokens, score }) => ({ tokens, score: score / length ** lengthPenalty, finished: true }));
  return [...item.finished, ...ended].sort((a, b) => b.score - a.score).slice(0, numBeams);
}

function isDone(item: Item, length: number, { earlyStopping, lengthPenalty }: GenerateOptions): boolean {
  if (!item.finished.every(hypothesis => hypothesis.finished)) return false;
  if (earlyStopping) return true;
  const best = (item.running[0] as Beam).score / length ** lengthPenalty;
  return best <= (item.finished[item.finished.length - 1] as Hypothesis).score;
}

function bestOf(item: Item, ends: Ends): Generated {
  const { tokens, score } = item.finished[0] as Hypothesis;
  return { tokenIds: tokens, finishReason: ends(tokens) ? "stop" : "length", score };
}
