import { DTYPES, type Dtype } from "./dtype.ts";

/** Sizes of a stored tensor, outermost first; [] is a scalar. */
export type Shape = readonly number[];

export function elementCount(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function byteLength(dtype: Dtype, shape: Shape): number {
  return Math.ceil((elementCount(shape) * DTYPES[dtype].bits) / 8);
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}
