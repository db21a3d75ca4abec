/** One thing measured of several programs in the same run. */
export interface Figure {
  readonly case: string;
  readonly unit: "s" | "ms" | "tokens/s" | "MB";
  readonly runs: number;
  /** Medians, of mmtrt first. */
  readonly values: Readonly<Record<string, number>>;
  /** Median over the rounds of mmtrt's value by that of `to`: a busy moment of the machine hits both. */
  readonly ratio?: { readonly to: string; readonly is: number; readonly wanted: string };
  /** Largest resident set of each program, in MB. */
  readonly rss?: Readonly<Record<string, number>>;
  /** Seconds of processor time, medians. */
  readonly cpu?: Readonly<Record<string, number>>;
  readonly note?: string;
}

/** A line of bench/results that bench/run.ts wrote. */
export interface Measured {
  readonly bench: string;
  readonly command: string;
  readonly commit: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memory_gib: number;
    readonly kernel: string;
    readonly simd: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  /** Tells these lines from those of other benches. */
  readonly peers: true;
  readonly figures: readonly Figure[];
}

/** Values of one program, one a round. */
export type Samples = ReadonlyMap<string, readonly number[]>;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const [low, high] = [sorted[half - 1] as number, sorted[half] as number];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

/** Three digits: more than any of these is reproduced to. */
export const round = (value: number): number => Number(value.toPrecision(3));

/** Medians of each program, and of the ratio of mmtrt's value to the baseline's in the same round. */
export function figureOf(
  name: string,
  unit: Figure["unit"],
  samples: Samples,
  limit?: { readonly to: string; readonly wanted: string },
): Figure {
  const own = samples.get("mmtrt") ?? [];
  const base = limit && samples.get(limit.to);
  return {
    case: name,
    unit,
    runs: own.length,
    values: Object.fromEntries([...samples].map(([program, values]) => [program, round(median(values))])),
    ...(limit &&
      base && { ratio: { ...limit, is: round(median(own.map((value, i) => value / (base[i] ?? Number.NaN)))) } }),
  };
}

/** Printed at once: a run that is cut short has shown what it found. */
export function shown(figure: Figure): Figure {
  console.log(JSON.stringify(figure));
  return figure;
}
