import { fail } from "../../diagnostics/index.ts";
import { compareValues, type Difference, isClose } from "../compare.ts";
import { type Reference, type ReferenceTensor, unusable } from "../reference.ts";

/** One stage beside the reference's. */
export interface StageResult {
  readonly stage: string;
  readonly state: "equal" | "differs" | "skipped";
  /** Of numbers; absent for ids and for what was skipped. */
  readonly difference?: Difference;
  /** Largest difference allowed. */
  readonly limit?: number;
  /** Where the worst element is, in the reference's shape. */
  readonly index?: readonly number[];
  /** Why it was skipped, or which id differs. */
  readonly note?: string;
}

/** Stages of which a reference may keep only the last rows. */
const ROWS = /^(layer|encoder_layer|stage)_/;

/** Collects comparisons; a tensor that the reference lacks is skipped, one of another size is an error. */
export class Stages {
  readonly results: StageResult[] = [];
  readonly #reference: Reference;
  readonly #tolerance: number;

  constructor(reference: Reference, tolerance: number) {
    this.#reference = reference;
    this.#tolerance = tolerance;
  }

  get(name: string): ReferenceTensor | undefined {
    return this.#reference.tensors.get(name);
  }

  skip(stage: string, note: string): void {
    this.results.push({ stage, state: "skipped", note });
  }

  /** `actual` may have more rows than the reference, which may keep only the last ones of a layer. */
  floats(stage: string, name: string, actual: Float32Array | undefined, tolerance = this.#tolerance): void {
    const expected = this.get(name);
    if (expected === undefined || actual === undefined) {
      const missing = "the engine's graph does not show it; build it again to see this stage";
      this.skip(stage, expected === undefined ? `the reference has no ${name}` : missing);
      return;
    }
    const tail = ROWS.test(name) ? actual.subarray(Math.max(0, actual.length - expected.data.length)) : actual;
    if (tail.length !== expected.data.length) {
      fail(
        unusable(
          this.#reference.file,
          `has ${expected.data.length} elements in ${name}; the engine computes ${actual.length}`,
        ),
      );
    }
    const difference = compareValues(tail, expected.data);
    const state = isClose(difference, tolerance) ? "equal" : "differs";
    const limit = tolerance * Math.max(1, difference.scale);
    this.results.push({ stage, state, difference, limit, index: coordinates(difference.index, expected.shape) });
  }

  ids(stage: string, actual: readonly number[], expected: ArrayLike<number>): void {
    const length = Math.max(actual.length, expected.length);
    const at = Array.from({ length }, (_, i) => i).find(i => actual[i] !== expected[i]);
    if (at === undefined) this.results.push({ stage, state: "equal" });
    else {
      const note = `token ${at} of ${length} is ${actual[at] ?? "missing"}, the reference has ${expected[at] ?? "none"}`;
      this.results.push({ stage, state: "differs", note });
    }
  }
}

/** Where an element is in a tensor, from its place among all of them. */
export function coordinates(index: number, shape: readonly number[]): readonly number[] {
  const result: number[] = [];
  for (let axis = shape.length - 1, rest = index; axis >= 0; axis--) {
    const size = shape[axis] as number;
    result.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return result;
}

/** Tokens to generate so that every answer of the reference can be compared. */
export function longestAnswer(stages: Stages): number {
  return Math.max(1, ...["tokens", "tokens_free"].map(name => stages.get(name)?.data.length ?? 0));
}

/** Greedy tokens do not depend on where an answer ends, so one search serves both. */
export function compareTokens(free: readonly number[], stages: Stages): void {
  for (const name of ["tokens", "tokens_free"]) {
    const expected = stages.get(name)?.data;
    if (expected === undefined) stages.skip(name, `the reference has no ${name}`);
    else stages.ids(name, free.slice(0, expected.length), expected);
  }
}
