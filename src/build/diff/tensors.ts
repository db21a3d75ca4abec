import type { FilePool } from "../../formats/file.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import {
  CASTABLE,
  cast,
  DTYPES,
  type Dtype,
  fromStored,
  recipeBytes,
  type StoredTensor,
  sameShape,
  showShape,
} from "../../tensor/index.ts";

/** Tensors that are missing, of another form, or of other values; of those how many values and by how much. */
export async function tensorDifferences(
  pool: FilePool,
  first: string,
  second: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const [a, b] = [(await openSafetensors(pool, first)).tensors, (await openSafetensors(pool, second)).tensors];
  const found: string[] = [];
  for (const name of [...new Set([...a.keys(), ...b.keys()])].sort()) {
    signal.throwIfAborted();
    const [x, y] = [a.get(name), b.get(name)];
    if (x === undefined || y === undefined) found.push(`tensor ${name} ${x === undefined ? "is new" : "is gone"}`);
    else if (x.dtype !== y.dtype || !sameShape(x.shape, y.shape))
      found.push(`tensor ${name} ${x.dtype} ${showShape(x.shape)} → ${y.dtype} ${showShape(y.shape)}`);
    else {
      const change = await valueDifference(x, y);
      if (change !== undefined) found.push(`tensor ${name}: ${change}`);
    }
  }
  return found.length === 0 ? ["the same tensors in another order or with other metadata"] : found;
}

async function valueDifference(a: StoredTensor, b: StoredTensor): Promise<string | undefined> {
  const values = CASTABLE.includes(a.dtype);
  const bits = DTYPES[a.dtype].bits;
  let total = 0;
  let differing = 0;
  let most = 0;
  const [x, y] = [bytesOf(a, values), bytesOf(b, values)];
  for (;;) {
    const [p, q] = [await x.next(), await y.next()];
    if (p.done || q.done) break;
    const [own, other] = values ? [floats(p.value), floats(q.value)] : [p.value, q.value];
    total += own.length;
    for (let i = 0; i < own.length; i++) {
      const [v, w] = [own[i] as number, other[i] as number];
      if (Object.is(v, w)) continue;
      differing++;
      if (values) most = Math.max(most, Math.abs(v - w) || 0);
    }
  }
  if (differing === 0) return undefined;
  const unit = values ? "values" : bits < 8 ? `bytes (${8 / bits} values each)` : "bytes";
  return `${differing} of ${total} ${unit} differ${values ? `, by at most ${Number(most.toPrecision(3))}` : ""}`;
}

/** As float32 where the dtype has values that can be subtracted, else as stored. */
function bytesOf(tensor: StoredTensor, values: boolean): AsyncGenerator<Uint8Array> {
  const recipe = fromStored(tensor);
  return recipeBytes(values ? cast(recipe, "float32" satisfies Dtype) : recipe);
}

function floats(bytes: Uint8Array): Float32Array {
  if (bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  return new Float32Array(bytes.slice().buffer);
}
