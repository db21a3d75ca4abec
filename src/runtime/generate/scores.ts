import { fail } from "../../diagnostics/index.ts";
import type { GenerateOptions } from "./options.ts";

/** Index of the first largest value. @throws MmtrtError NUM001 when the row holds NaN or no finite value. */
export function argmax(row: Float32Array): number {
  let best = 0;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < row.length; i++) {
    const value = row[i] as number;
    if (value > max) {
      max = value;
      best = i;
    } else if (Number.isNaN(value)) notNumbers();
  }
  if (!Number.isFinite(max)) notNumbers();
  return best;
}

/** x − log Σ exp(x), computed around the largest value. */
export function logSoftmax(row: Float32Array): Float32Array {
  const max = row[argmax(row)] as number;
  let sum = 0;
  for (const value of row) sum += Math.exp(value - max);
  const shift = max + Math.log(sum);
  return row.map(value => value - shift);
}

/**
 * What changes scores before a token is chosen, greedily or not. `seen` are the prompt's and the answer's tokens, of an
 * encoder-decoder the start token and the answer's: a positive score is divided by the penalty and a negative one
 * multiplied, once for each distinct token; a token that would repeat a run of `noRepeatNgramSize` cannot come. As in
 * transformers an image's placeholder counts as seen; unlike there, a batch's padding does not.
 */
export function adjustScores(
  scores: Float32Array,
  seen: readonly number[],
  newTokens: number,
  options: GenerateOptions,
): Float32Array {
  const { repetitionPenalty: penalty, noRepeatNgramSize, minNewTokens, eosTokenIds } = options;
  const forced = newTokens === options.maxNewTokens - 1 ? options.forcedEosTokenId : undefined;
  const only = forced ?? (newTokens === 0 ? options.forcedBosTokenId : undefined);
  if (only !== undefined) return scores.map((_, id) => (id === only ? 0 : Number.NEGATIVE_INFINITY));
  if (penalty === 1 && noRepeatNgramSize === 0 && newTokens >= minNewTokens) return scores;
  const adjusted = Float32Array.from(scores);
  if (penalty !== 1) {
    for (const id of new Set(seen)) {
      const score = scores[id];
      if (score !== undefined) adjusted[id] = score < 0 ? score * penalty : score / penalty;
    }
  }
  for (const id of repeating(seen, noRepeatNgramSize)) adjusted[id] = Number.NEGATIVE_INFINITY;
  if (newTokens < minNewTokens) for (const id of eosTokenIds) adjusted[id] = Number.NEGATIVE_INFINITY;
  return adjusted;
}

/** Tokens that followed an earlier copy of the last `size` − 1 tokens. */
function repeating(seen: readonly number[], size: number): readonly number[] {
  const found: number[] = [];
  const last = seen.length - size + 1;
  if (size === 0 || last < 0) return found;
  for (let start = 0; start < last; start++) {
    let same = 0;
    while (same < size - 1 && seen[start + same] === seen[last + same]) same++;
    if (same === size - 1) found.push(seen[start + same] as number);
  }
  return found;
}

export interface Candidate {
  readonly id: number;
  readonly score: number;
}

/** The k largest in falling order; among equals the smaller index first. */
export function topCandidates(scores: Float32Array | Float64Array, k: number): Candidate[] {
  const best: Candidate[] = [];
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] as number;
    if (best.length === k && score <= (best[k - 1] as Candidate).score) continue;
    let place = best.length;
    while (place > 0 && (best[place - 1] as Candidate).score < score) place--;
    best.splice(place, 0, { id, score });
    if (best.length > k) best.pop();
  }
  return best;
}

function notNumbers(): never {
  return fail({
    code: "NUM001",
    what: "the logits hold NaN or infinite values; expected numbers",
    at: "logits",
    why: "activations left the range of the engine's element type, or weights are damaged",
    fix: "convert with --dtype bfloat16 or float32, and check the source weights",
  });
}
