import { expect } from "vitest";

type Numbers = ArrayLike<number>;

/** Fails with the worst element, both values and the cosine, when an element is further off than `tolerance`. */
export function expectClose(got: Numbers, want: Numbers, tolerance: number, what: string): void {
  expect(got.length, `${what}: number of elements`).toBe(want.length);
  let worst = 0;
  let at = 0;
  let [dot, gg, ww] = [0, 0, 0];
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i] as number, want[i] as number];
    dot += g * w;
    gg += g * g;
    ww += w * w;
    const error = Math.abs(g - w);
    if (!(error <= worst)) [worst, at] = [error, i];
  }
  const cosine = dot / Math.sqrt(gg * ww);
  const message = `${what}: element ${at} is ${got[at]}, expected ${want[at]}; max error ${worst}, cosine ${cosine}`;
  expect(worst, message).toBeLessThanOrEqual(tolerance);
  expect(cosine, message).toBeGreaterThan(0.9999);
}
