import { type ByteRange, type Dtype, rowBytes, rowCount, type Shape, type StoredTensor } from "../tensor/index.ts";
import type { SourceFile } from "./file.ts";

/** A tensor whose bytes lie in the file row-major, one after the other. */
export function plainTensor(
  file: SourceFile,
  name: string,
  dtype: Dtype,
  shape: Shape,
  range: ByteRange,
): StoredTensor {
  const stride = rowBytes(dtype, shape);
  return {
    name,
    dtype,
    shape,
    at: placeOf(file, range.offset),
    range,
    readRows: (start, end) => {
      checkRows(name, shape, start, end);
      return file.read(range.offset + start * stride, (end - start) * stride);
    },
  };
}

export function placeOf(file: SourceFile, offset: number): string {
  return `${file.path}, byte ${offset}`;
}

/** Rows come from our own code, so a wrong one is a bug and not a problem of the input. */
export function checkRows(name: string, shape: Shape, start: number, end: number): void {
  if (start >= 0 && start <= end && end <= rowCount(shape)) return;
  throw new Error(`rows [${start}, ${end}) of ${name}, which has ${rowCount(shape)}`);
}

/** Elements of a shape from a file, or undefined when it is not a shape: sizes and product must be safe integers ≥ 0. */
export function countElements(shape: readonly unknown[]): number | undefined {
  let product = 1;
  let empty = false;
  for (const size of shape) {
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
    if (size === 0) empty = true;
    else product *= size;
    if (!Number.isSafeInteger(product)) return undefined;
  }
  return empty ? 0 : product;
}
