/** How far values are from the reference's. */
export interface Difference {
  /** Largest |actual − expected|; NaN counts as infinite. */
  readonly worst: number;
  /** Flat index of it, and both values there. */
  readonly index: number;
  readonly actual: number;
  readonly expected: number;
  /** Of the two as vectors; 1 when both are zero. */
  readonly cosine: number;
  /** Largest |expected|. */
  readonly scale: number;
}

/** Compares two arrays of one length. */
export function compareValues(actual: ArrayLike<number>, expected: ArrayLike<number>): Difference {
  let worst = -1;
  let index = 0;
  let scale = 0;
  let dot = 0;
  let actualSquares = 0;
  let expectedSquares = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i] as number;
    const e = expected[i] as number;
    const distance = Math.abs(a - e);
    if (distance > worst || Number.isNaN(distance)) {
      worst = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
      index = i;
    }
    scale = Math.max(scale, Math.abs(e));
    dot += a * e;
    actualSquares += a * a;
    expectedSquares += e * e;
  }
  const norm = Math.sqrt(actualSquares) * Math.sqrt(expectedSquares);
  const cosine = norm === 0 ? (actualSquares === expectedSquares ? 1 : 0) : dot / norm;
  const at = { index, actual: actual[index] ?? Number.NaN, expected: expected[index] ?? Number.NaN };
  return { worst: Math.max(0, worst), ...at, cosine, scale };
}

/**
 * Whether a difference is rounding: each element within `tolerance` of the stage's scale (at least 1, so that small
 * stages are held to the plain bound), and the direction kept, which catches values that are swapped but close.
 */
export function isClose(difference: Difference, tolerance: number): boolean {
  return difference.worst <= tolerance * Math.max(1, difference.scale) && difference.cosine >= 1 - tolerance;
}
