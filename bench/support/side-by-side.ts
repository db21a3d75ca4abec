import { type Figure, figureOf, median, round, type Samples } from "./figures.ts";
import type { Place } from "./place.ts";
import type { Usage } from "./usage.ts";

/** Runs the programs in turn, `runs` times after one that does not count. */
export function inTurns(
  programs: ReadonlyMap<string, () => Usage>,
  runs: number,
): ReadonlyMap<string, readonly Usage[]> {
  const taken = new Map([...programs.keys()].map(name => [name, [] as Usage[]]));
  for (let i = -1; i < runs; i++)
    for (const [name, run] of programs) {
      const usage = run();
      if (i >= 0) taken.get(name)?.push(usage);
    }
  return taken;
}

/** What each program took, under its name and by the clock that was asked for, the first one being mmtrt. */
export function usageFigure(
  name: string,
  { by }: Pick<Place, "by">,
  taken: ReadonlyMap<string, readonly Usage[]>,
  limit?: { readonly to: string; readonly wanted: string },
  unit: "s" | "ms" = "s",
): Figure {
  const scale = unit === "s" ? 1 : 1000;
  const samples: Samples = new Map(
    [...taken].map(([program, usages]) => [program, usages.map(usage => usage[by] * scale)]),
  );
  const ofEach = (value: (usages: readonly Usage[]) => number): Record<string, number> =>
    Object.fromEntries([...taken].map(([program, usages]) => [program, round(value(usages))]));
  return {
    ...figureOf(by === "cpu" ? `${name}, processor` : name, unit, samples, limit),
    cpu: ofEach(usages => median(usages.map(({ cpu }) => cpu * scale))),
    rss: ofEach(usages => Math.max(...usages.map(({ rss }) => rss)) / 1e6),
  };
}
