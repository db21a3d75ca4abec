import type { ConfigReader } from "../config-reader.ts";
import { type RopeSizes, type RopeSpec, readRope } from "./rope-spec.ts";

/** Temporal, height, width. */
const AXES = 3;

export interface MropeHabits {
  /** What the class takes where config.json has no `mrope_section`. */
  readonly sections: readonly number[];
  readonly interleaved: boolean;
  readonly theta: number;
}

/** RoPE by three positions a token: the keys of `readRope`, and `mrope_section` beside them. */
export function readMrope(
  c: ConfigReader,
  sizes: RopeSizes,
  { sections: usual, interleaved, theta }: MropeHabits,
): RopeSpec {
  const part = ["rope_parameters", "rope_scaling"].find(key => c.has(key));
  const inner = (part === undefined ? {} : c.raw(part)) as Readonly<Record<string, unknown>>;
  const sections = inner.mrope_section ?? usual;
  if (inner.mrope_interleaved !== undefined && inner.mrope_interleaved !== interleaved)
    c.problem(
      "SPC004",
      `${part}.mrope_interleaved`,
      `is ${JSON.stringify(inner.mrope_interleaved)}; expected ${interleaved}`,
      "the class deals channels out to the axes in one way, whatever the file says",
      `give mrope_interleaved as ${interleaved}`,
    );
  const rope = readRope(c, { ...sizes, mrope: true }, theta);
  const sizesFit = isSections(sections) && sum(sections) === sizes.headDim / 2;
  if (!sizesFit && c.sound)
    c.problem(
      "SPC006",
      `${part ?? "rope_parameters"}.mrope_section`,
      `is ${JSON.stringify(sections)}; expected three numbers that make ${sizes.headDim / 2}, half of the head size ${sizes.headDim}`,
      "each pair of channels of a head is turned by one of the three positions",
      "give mrope_section as it was trained",
    );
  return { ...rope, mrope: { sections: sizesFit ? sections : usual, interleaved } };
}

function isSections(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length === AXES && value.every(size => Number.isSafeInteger(size) && size >= 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
