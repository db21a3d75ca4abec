import { adapterItems } from "./adapter-items.ts";
import { cacheItems } from "./cache-items.ts";
import { encoderItems, languageItems, stepsOf } from "./language-items.ts";
import type { MemoryAccount, MemoryInput, MemoryItem, RankMemory } from "./types.ts";
import { visualItems } from "./visual-items.ts";

/** (model + KV + activation) / parallelism, in the unit of its arguments. */
export function averagePerGpu(model: number, kv: number, activation: number, parallelism: number): number {
  return (model + kv + activation) / parallelism;
}

const MODEL: readonly MemoryItem["what"][] = ["weights", "expanded_weights", "visual_weights"];
const CACHE: readonly MemoryItem["what"][] = ["kv_cache", "kv_cache_step", "cross_kv_cache"];

export function memoryAccount(input: MemoryInput): MemoryAccount {
  const ranks = input.rankWeights.map((weights, rank): RankMemory => {
    const steps = stepsOf(input);
    const items = [
      { what: "weights" as const, bytes: weights, formula: `rank${rank}.safetensors as loaded` },
      ...expandedWeights(input, rank),
      ...cacheItems(input),
      ...languageItems(input, rank, steps),
      ...adapterItems(input),
      ...encoderItems(input),
      ...visualItems(input),
      ...contexts(input),
    ];
    return { rank, items, steps, total: sum(items) };
  });
  const all = ranks.flatMap(({ items }) => items);
  const of = (names: readonly MemoryItem["what"][]): number => sum(all.filter(({ what }) => names.includes(what)));
  const [model, cache] = [of(MODEL), of(CACHE)];
  return {
    ranks,
    peak: Math.max(...ranks.map(rank => rank.total)),
    average: averagePerGpu(model, cache, sum(all) - model - cache, ranks.length),
  };
}

function expandedWeights({ expandedWeights: sizes, computeDtype }: MemoryInput, rank: number): MemoryItem[] {
  const bytes = sizes?.[rank] ?? 0;
  if (bytes === 0) return [];
  const formula = `codes with one scale an output, of all layers as ${computeDtype} at once`;
  return [{ what: "expanded_weights", bytes, formula }];
}

/** One a graph: decoder, encoder and what is between them, images. */
function contexts({ contextBytes, encoder, encoderLen, vision, swin }: MemoryInput): MemoryItem[] {
  if (contextBytes === 0) return [];
  const graphs =
    1 + Number(encoder !== undefined) + Number(Boolean(encoderLen)) + Number((vision ?? swin) !== undefined);
  return [{ what: "contexts", bytes: graphs * contextBytes, formula: `engines ${graphs} × ${contextBytes} B` }];
}

function sum(items: readonly { readonly bytes: number }[]): number {
  return items.reduce((total, { bytes }) => total + bytes, 0);
}
