import {
  cast,
  type FloatDtype,
  fromStored,
  named,
  rowCount,
  type StoredTensor,
  type TensorRecipe,
} from "../../tensor/index.ts";
import type { Change } from "./changes.ts";

/** W + scaling · B·A in float32, rounded once to W's dtype; of a Conv1D, whose weight is stored [in, out], W + (B·A)ᵀ. */
export function added(weight: StoredTensor, { a, b, scaling, conv1d }: Extract<Change, { kind: "add" }>): TensorRecipe {
  const wide = cast(fromStored(weight), "float32");
  const columns = weight.shape[1] ?? 0;
  let halves: Promise<readonly [Float32Array, Float32Array]> | undefined;
  const sum: TensorRecipe = {
    name: weight.name,
    dtype: "float32",
    shape: weight.shape,
    sources: [weight.name, a.name, b.name],
    readRows: async (start, end) => {
      halves ??= Promise.all([floatsOf(a), floatsOf(b)]);
      const [down, up] = await halves;
      const bytes = await wide.readRows(start, end);
      const values = new Float32Array(bytes.slice().buffer);
      const rank = a.shape[0] ?? 0;
      for (let row = start; row < end; row++) {
        const target = values.subarray((row - start) * columns, (row - start + 1) * columns);
        if (conv1d) addColumn(target, down, up, row, rank, scaling);
        else addRow(target, down, up, row, rank, scaling);
      }
      if (end === rowCount(weight.shape)) halves = undefined;
      return new Uint8Array(values.buffer);
    },
  };
  return cast(sum, weight.dtype as FloatDtype);
}

/** target[j] += scaling · Σ_k B[row, k] · A[k, j]. */
function addRow(
  target: Float32Array,
  a: Float32Array,
  b: Float32Array,
  row: number,
  rank: number,
  scaling: number,
): void {
  const width = target.length;
  const delta = new Float32Array(width);
  for (let k = 0; k < rank; k++) {
    const factor = b[row * rank + k] as number;
    for (let j = 0; j < width; j++) delta[j] = (delta[j] as number) + factor * (a[k * width + j] as number);
  }
  for (let j = 0; j < width; j++) target[j] = (target[j] as number) + Math.fround((delta[j] as number) * scaling);
}

/** target[o] += scaling · Σ_k B[o, k] · A[k, column]. */
function addColumn(
  target: Float32Array,
  a: Float32Array,
  b: Float32Array,
  column: number,
  rank: number,
  scaling: number,
): void {
  const width = a.length / rank;
  for (let o = 0; o < target.length; o++) {
    let delta = 0;
    for (let k = 0; k < rank; k++) delta += (b[o * rank + k] as number) * (a[k * width + column] as number);
    target[o] = (target[o] as number) + Math.fround(delta * scaling);
  }
}

/** Another tensor under the name and in the dtype of the stored one. */
export function replaced(weight: StoredTensor, by: StoredTensor): TensorRecipe {
  return named(weight.name, cast(fromStored(by), weight.dtype as FloatDtype));
}

async function floatsOf(tensor: StoredTensor): Promise<Float32Array> {
  const bytes = await cast(fromStored(tensor), "float32").readRows(0, rowCount(tensor.shape));
  return new Float32Array(bytes.slice().buffer);
}
