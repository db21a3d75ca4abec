import type { Answers } from "./answer.ts";
import type { DeviceMemory } from "./generation.ts";

/** Milliseconds of one stage over all iterations. */
export interface Latency {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly count: number;
}

export interface ProfileReport {
  readonly iterations: number;
  readonly batch_size: number;
  readonly num_beams: number;
  /** Of all items together, visual features included. */
  readonly prompt_tokens: number;
  /** Of these, tokens whose keys and values were known from before; the mean over all iterations. */
  readonly reused_tokens: number;
  readonly new_tokens: number;
  /** The most that an answer could have: as asked, or what the engine has room for. */
  readonly max_new_tokens: number;
  readonly visual_ms: Latency | null;
  readonly prefill_ms: Latency;
  /** One step makes one token for each item (and beam). */
  readonly decode_ms: Latency | null;
  readonly total_ms: Latency;
  readonly tokens_per_second: { readonly prefill: number; readonly decode: number | null; readonly total: number };
  /** Bytes by what for, after the last request; of the native runner alone. */
  readonly memory?: DeviceMemory;
}

export interface ProfileRequest {
  readonly iterations: number;
  readonly batchSize: number;
  readonly numBeams: number;
  run(): Promise<Answers>;
  onIteration?(done: number): void;
}

/** Times whole requests after one warm-up, which loads weights into caches and is not counted. */
export async function profile({
  iterations,
  batchSize,
  numBeams,
  run,
  onIteration,
}: ProfileRequest): Promise<ProfileReport> {
  await run();
  const runs: Answers[] = [];
  const totals: number[] = [];
  for (let i = 0; i < iterations; i++) {
    const start = performance.now();
    runs.push(await run());
    totals.push(performance.now() - start);
    onIteration?.(i + 1);
  }
  const timings = runs.map(({ timing }) => timing);
  const visual = timings.map(({ visualMs }) => visualMs).filter(ms => ms > 0);
  const prefill = latency(timings.map(({ prefillMs }) => prefillMs));
  const decode = timings.flatMap(({ decodeMs }) => decodeMs);
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const newTokens = sum(timings.map(timing => timing.newTokens));
  const memory = runs.at(-1)?.memory;
  const promptTokens = timings[0]?.promptTokens ?? 0;
  return {
    iterations,
    batch_size: batchSize,
    num_beams: numBeams,
    prompt_tokens: promptTokens,
    reused_tokens: sum(timings.map(timing => timing.reusedTokens)) / iterations,
    new_tokens: newTokens / iterations,
    max_new_tokens: Math.min(...runs.map(({ maxNewTokens }) => maxNewTokens)),
    visual_ms: visual.length > 0 ? latency(visual) : null,
    prefill_ms: prefill,
    decode_ms: decode.length > 0 ? latency(decode) : null,
    total_ms: latency(totals),
    tokens_per_second: {
      prefill: (promptTokens * 1000) / prefill.mean,
      // The first token of each item comes with the prefill.
      decode: decode.length > 0 ? ((newTokens - batchSize * iterations) * 1000) / sum(decode) : null,
      total: (newTokens * 1000) / sum(totals),
    },
    ...(memory && { memory }),
  };
}

/** Percentiles are values that occurred (nearest rank), not interpolated ones. */
export function latency(values: readonly number[]): Latency {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  const mean = sorted.reduce((a, b) => a + b, 0) / Math.max(1, sorted.length);
  return { mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), count: sorted.length };
}
