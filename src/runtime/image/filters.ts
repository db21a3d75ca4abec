/**
 * Pillow's resampling filters. `support` is the radius at scale 1; the weight is a function of the distance to the
 * output pixel's centre, in input pixels when enlarging and in output pixels when reducing (antialiasing).
 */
export interface Filter {
  readonly support: number;
  weight(distance: number): number;
}

export type FilterName = "nearest" | "lanczos" | "bilinear" | "bicubic" | "box" | "hamming";

/** PIL.Image.Resampling: the numbers a `resample` key holds. */
export const PIL_RESAMPLING: readonly FilterName[] = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"];

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** Keys' cubic with a = −0.5; torch's and OpenCV's differ in a (−0.75), torch's antialiased one does not. */
function cubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function hamming(distance: number): number {
  const x = Math.abs(distance);
  return x >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI));
}

export const FILTERS: Readonly<Record<Exclude<FilterName, "nearest">, Filter>> = {
  lanczos: { support: 3, weight: x => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
  bilinear: { support: 1, weight: x => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: cubic },
  box: { support: 0.5, weight: x => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  hamming: { support: 1, weight: hamming },
};
