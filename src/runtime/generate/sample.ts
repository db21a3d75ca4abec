import type { GenerateOptions } from "./options.ts";
import { argmax } from "./scores.ts";

/** Uniform numbers in [0, 1): the same seed and stream give the same numbers on every machine. */
export class Random {
  /** SplitMix64. Each batch item has a stream of its own, so an answer does not depend on its neighbours. */
  #state: bigint;

  constructor(seed: number, stream: number) {
    this.#state = mix(BigInt(seed)) ^ mix(BigInt(stream) * GOLDEN + 1n);
  }

  next(): number {
    this.#state = BigInt.asUintN(64, this.#state + GOLDEN);
    return Number(mix(this.#state) >> 11n) / 2 ** 53;
  }
}

const GOLDEN = 0x9e3779b97f4a7c15n;

function mix(value: bigint): bigint {
  let z = BigInt.asUintN(64, value);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

interface Share {
  readonly id: number;
  readonly share: number;
}

/**
 * Tokens that may be drawn, likeliest first, with their shares of the remaining probability: logits / temperature,
 * then the k largest (ties of the k-th stay), then the fewest that reach top_p.
 */
export function distribution(scores: Float32Array, options: GenerateOptions): readonly Share[] {
  const max = scores[argmax(scores)] as number;
  const order = Array.from(scores.keys()).sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
  const kth =
    options.topK > 0 ? (scores[order[Math.min(options.topK, order.length) - 1] as number] as number) : -Infinity;
  const kept = order.filter(id => (scores[id] as number) >= kth && scores[id] !== Number.NEGATIVE_INFINITY);
  const weights = kept.map(id => Math.exp(((scores[id] as number) - max) / options.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const limit = options.topP > 0 && options.topP < 1 ? options.topP * total : total;
  let before = 0;
  const count = weights.findIndex(weight => {
    before += weight;
    return before >= limit;
  });
  const last = count === -1 ? weights.length : count + 1;
  const sum = weights.slice(0, last).reduce((a, b) => a + b, 0);
  return kept.slice(0, last).map((id, i) => ({ id, share: (weights[i] as number) / sum }));
}

/** One token: greedy for top_k 1, else drawn from `distribution`. */
export function chooseToken(scores: Float32Array, options: GenerateOptions, random: Random): number {
  if (options.topK === 1) return argmax(scores);
  const shares = distribution(scores, options);
  let left = random.next();
  for (const { id, share } of shares) {
    left -= share;
    if (left < 0) return id;
  }
  // Shares sum to 1 but for rounding.
  return (shares[shares.length - 1] as Share).id;
}
