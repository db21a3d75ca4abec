import type { ProfileRange, SizeRange } from "../formats/engine-config.ts";

/** A network input with TensorRT-LLM's range in each of its profiles. */
export interface TrtllmInput {
  readonly name: string;
  readonly profiles: readonly ProfileRange[];
}

/** One axis: a fixed size, or its range. */
export type AxisRange = number | SizeRange;

export function rangeOf(axes: readonly AxisRange[]): ProfileRange {
  const ranges = axes.map(axis => (typeof axis === "number" ? { min: axis, opt: axis, max: axis } : axis));
  return { min: ranges.map(r => r.min), opt: ranges.map(r => r.opt), max: ranges.map(r => r.max) };
}

export function eachPoint({ min, opt, max }: SizeRange, change: (size: number) => number): SizeRange {
  return { min: change(min), opt: change(opt), max: change(max) };
}

/** (1, ⌊rows/2⌋, rows), but never an opt below min: v0.11 itself gives one row an opt of 0, and TensorRT refuses that. */
export function promptTableRows(rows: number): SizeRange {
  return { min: 1, opt: Math.max(1, Math.floor(rows / 2)), max: rows };
}
