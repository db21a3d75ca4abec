import type { Problem } from "../diagnostics/index.ts";
import type { Dtype, OrScanner, TensorRecipe } from "../tensor/index.ts";
import type { NonFinite } from "./manifest.ts";

/** exponent: bits that are all ones in NaN and infinity · unit: added to them, it carries into the sign bit of just those. */
interface Pattern {
  readonly exponent: number;
  readonly unit: number;
  readonly sign: number;
  readonly mantissa: number;
  readonly halves: boolean;
}

const PATTERNS: Readonly<Partial<Record<Dtype, Pattern>>> = {
  float16: { exponent: 0x7c007c00, unit: 0x04000400, sign: 0x80008000, mantissa: 0x3ff, halves: true },
  bfloat16: { exponent: 0x7f807f80, unit: 0x00800080, sign: 0x80008000, mantissa: 0x7f, halves: true },
  float32: { exponent: 0x7f800000, unit: 0x00800000, sign: 0x80000000, mantissa: 0x7fffff, halves: false },
};

/** Counts NaN and infinite values in the chunks of tensors on their way to a file. */
export class NonFiniteCounter {
  readonly #file: string;
  readonly #found = new Map<string, { nan: number; infinite: number }>();
  readonly #scanner: OrScanner;

  /** Chunks in the scanner's own buffer are looked at in place. */
  constructor(file: string, scanner: OrScanner) {
    this.#file = file;
    this.#scanner = scanner;
  }

  /** `inspect` hook of the writer. Chunks hold whole elements. */
  readonly inspect = (recipe: TensorRecipe, chunk: Uint8Array): void => {
    const pattern = PATTERNS[recipe.dtype];
    if (pattern === undefined || recipe.opaque || !this.#mayHold(chunk, pattern)) return;
    const counts = this.#found.get(recipe.name) ?? { nan: 0, infinite: 0 };
    count(chunk, pattern, counts);
    if (counts.nan + counts.infinite > 0) this.#found.set(recipe.name, counts);
  };

  /**
   * And, add, or over 32-bit words, two 16-bit values at a time: weights are nearly always finite, and this pass runs over
   * every byte that convert writes. A carry out of the low half would need its exponent bits to exceed all ones, so the
   * halves do not disturb each other. The few bytes behind the last whole block are counted one by one.
   */
  #mayHold(chunk: Uint8Array, { exponent, unit, sign }: Pattern): boolean {
    const { bits, bytes } = this.#scanner.scan(chunk, exponent, unit);
    return (bits & sign) !== 0 || bytes < chunk.byteLength;
  }

  get found(): NonFinite[] {
    return [...this.#found].map(([tensor, counts]) => ({ file: this.#file, tensor, ...counts }));
  }
}

function count(
  chunk: Uint8Array,
  { exponent, mantissa, halves }: Pattern,
  counts: { nan: number; infinite: number },
): void {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const size = halves ? 2 : 4;
  const ones = halves ? exponent & 0xffff : exponent;
  for (let at = 0; at + size <= chunk.byteLength; at += size) {
    const bits = halves ? view.getUint16(at, true) : view.getUint32(at, true);
    if ((bits & ones) !== ones) continue;
    if ((bits & mantissa) === 0) counts.infinite++;
    else counts.nan++;
  }
}

const MAX_REPORTED = 10;

/** At most ten are spelled out; the manifest lists all. */
export function nonFiniteProblems(found: readonly NonFinite[]): Problem[] {
  const problems = found.slice(0, MAX_REPORTED).map(
    ({ file, tensor, nan, infinite }): Problem => ({
      code: "CKP048",
      what: `${tensor} has ${nan} NaN and ${infinite} infinite values${found.length > MAX_REPORTED ? ` (one of ${found.length} such tensors)` : ""}`,
      at: `${tensor} in ${file}`,
      why:
        nan > 0
          ? "a NaN weight makes every output NaN"
          : "an infinite weight makes outputs infinite or NaN; values beyond 65504 become infinite in float16",
      fix:
        nan > 0
          ? "get an undamaged copy of the checkpoint"
          : "--dtype bfloat16 or float32, unless the checkpoint itself is damaged",
    }),
  );
  return problems;
}
