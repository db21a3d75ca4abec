import { DTYPES, type StoredTensor } from "../../tensor/index.ts";
import { bufferOf, type SourceFile } from "../file.ts";
import { checkRows, placeOf } from "../stored.ts";

/** Sizes and strides in elements; `offset` is the byte of the file where element [0, 0, …] lies. */
export interface StridedLayout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/** Bytes read from the file at once. */
const MAX_SPAN = 8 << 20;

/** An axis of a gather: `size` steps, each moving `from` units in the file and `to` in the result. */
interface Axis {
  readonly size: number;
  readonly from: number;
  readonly to: number;
}

/** Row-major without gaps; axes of size 1 and empty tensors may have any stride. */
export function isContiguous({ shape, strides }: Pick<StridedLayout, "shape" | "strides">): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number;
    if (size !== 1 && strides[axis] !== expected) return false;
    expected *= size;
  }
  return true;
}

/** A transposed, sliced or expanded tensor; its rows are gathered from spans of the file. */
export function stridedTensor(
  file: SourceFile,
  name: string,
  dtype: StoredTensor["dtype"],
  layout: StridedLayout,
): StoredTensor {
  const { shape, strides, offset } = layout;
  const itemSize = DTYPES[dtype].bits / 8;
  return {
    name,
    dtype,
    shape,
    at: placeOf(file, offset),
    readRows: async (start, end) => {
      checkRows(name, shape, start, end);
      const sizes = shape.length === 0 ? [] : [end - start, ...shape.slice(1)];
      const target = bufferOf(sizes.reduce((product, size) => product * size, itemSize));
      const from = offset + start * (strides[0] ?? 0) * itemSize;
      if (target.byteLength > 0)
        await gather({ file, unit: Math.min(itemSize, 4), target }, axesOf(sizes, strides, itemSize), from, 0);
      return target;
    },
  };
}

/**
 * The axes by falling stride in the file, so that splitting the first one splits the file into the fewest spans.
 * 8-byte elements are moved as two units of 4: float64 views could change NaN payloads, and BigInt ones are slow.
 */
function axesOf(sizes: readonly number[], strides: readonly number[], itemSize: number): Axis[] {
  const units = Math.ceil(itemSize / 4);
  const axes: Axis[] = [{ size: units, from: 1, to: 1 }];
  let to = units;
  for (let axis = sizes.length - 1; axis >= 0; axis--) {
    const size = sizes[axis] as number;
    axes.push({ size, from: (strides[axis] as number) * units, to });
    to *= size;
  }
  return axes.filter(axis => axis.size !== 1).sort((a, b) => b.from - a.from);
}

interface Gather {
  readonly file: SourceFile;
  /** Bytes moved at once: 1, 2 or 4. */
  readonly unit: number;
  readonly target: Uint8Array;
}

/** Units from byte `from` of the file to unit `to` of the target, in spans of at most MAX_SPAN bytes. */
async function gather(job: Gather, axes: readonly Axis[], from: number, to: number): Promise<void> {
  const [first, ...rest] = axes;
  const inner = spanOf(rest);
  if (first === undefined || spanOf(axes) * job.unit <= MAX_SPAN) {
    const span = await job.file.read(from, spanOf(axes) * job.unit);
    copyElements(job, span, axes, 0, to);
    return;
  }
  // As many steps of the first axis as fit a span; when not even one does, its parts are split in turn.
  const fitting = Math.floor((MAX_SPAN / job.unit - inner) / Math.max(1, first.from)) + 1;
  const steps = Math.max(1, Math.min(first.size, fitting));
  for (let i = 0; i < first.size; i += steps) {
    const size = Math.min(steps, first.size - i);
    const part = size === 1 ? rest : [{ ...first, size }, ...rest];
    await gather(job, part, from + i * first.from * job.unit, to + i * first.to);
  }
}

/** Units from the first to the last one touched. */
function spanOf(axes: readonly Axis[]): number {
  return axes.reduce((span, { size, from }) => span + (size - 1) * from, 1);
}

function copyElements(job: Gather, span: Uint8Array, axes: readonly Axis[], from: number, to: number): void {
  const [first, ...rest] = axes;
  if (first === undefined) {
    const at = from * job.unit;
    job.target.set(span.subarray(at, at + job.unit), to * job.unit);
    return;
  }
  if (rest.length > 0) {
    for (let i = 0; i < first.size; i++) copyElements(job, span, rest, from + i * first.from, to + i * first.to);
    return;
  }
  copyLine(job, span, first, from, to);
}

/** The innermost loop; span and target begin at byte 0 of their buffers, so any typed array can view them. */
function copyLine({ unit, target }: Gather, span: Uint8Array, axis: Axis, from: number, to: number): void {
  const source = unitsOf(span, unit);
  const out = unitsOf(target, unit);
  for (let i = 0; i < axis.size; i++) out[to + i * axis.to] = source[from + i * axis.from] as number;
}

function unitsOf(bytes: Uint8Array, unit: number): Uint8Array | Uint16Array | Uint32Array {
  if (unit === 1) return bytes;
  return unit === 2
    ? new Uint16Array(bytes.buffer, 0, bytes.byteLength / 2)
    : new Uint32Array(bytes.buffer, 0, bytes.byteLength / 4);
}
