import { type FloatDtype, isFloatDtype } from "./dtype.ts";
import { make, must } from "./ops.ts";
import { cast } from "./ops-cast.ts";
import { rowCount, type TensorRecipe } from "./recipe.ts";

/** Rows of the product made at a time: their floats and those of the source stay below a few MB. */
const BAND_FLOATS = 1 << 20;

/**
 * x · M for x [R, K] and M [K, N], or x · Mᵀ for M stored [N, K] (`transposed`); result in x's dtype.
 * Values are read as float32, each product is added to a float32 sum in the order of K and the sum is rounded once:
 * float32 fused multiply-add, which is what CPU libraries do for the short K of such projections. M is held in memory.
 */
export function multiplyRows(x: TensorRecipe, matrix: TensorRecipe, transposed: boolean): TensorRecipe {
  const [rows = 0, inner = 0] = x.shape;
  const [k = 0, n = 0] = transposed ? [...matrix.shape].reverse() : matrix.shape;
  must(x.shape.length === 2 && matrix.shape.length === 2 && inner === k, `product of ${x.name} and ${matrix.name}`);
  must(isFloatDtype(x.dtype) && isFloatDtype(matrix.dtype), `product of ${x.dtype} and ${matrix.dtype}`);
  const wide = cast(x, "float32");
  let loaded: Promise<Float32Array> | undefined;
  const read = async (start: number, end: number): Promise<Uint8Array> => {
    loaded ??= loadColumns(matrix, k, n, transposed);
    const m = await loaded;
    const out = new Float32Array((end - start) * n);
    const band = Math.max(1, Math.floor(BAND_FLOATS / Math.max(1, k)));
    for (let row = start; row < end; row += band) {
      const last = Math.min(end, row + band);
      const values = floatsOf(await wide.readRows(row, last));
      multiplyInto(out, (row - start) * n, values, m, last - row, k, n);
    }
    if (end === rows) loaded = undefined;
    return new Uint8Array(out.buffer);
  };
  const product = make(x.name, "float32", [rows, n], [...x.sources, ...matrix.sources], undefined, read);
  return cast(product, x.dtype as FloatDtype);
}

/** The sums live in the Float32Array, so that storing each of them is the rounding to float32. */
function multiplyInto(
  out: Float32Array,
  at: number,
  x: Float32Array,
  m: Float32Array,
  rows: number,
  k: number,
  n: number,
): void {
  for (let r = 0; r < rows; r++) {
    const sums = out.subarray(at + r * n, at + (r + 1) * n);
    for (let i = 0; i < k; i++) {
      const factor = x[r * k + i] as number;
      const line = m.subarray(i * n, (i + 1) * n);
      for (let j = 0; j < n; j++) sums[j] = (sums[j] as number) + factor * (line[j] as number);
    }
  }
}

/** The matrix as [K, N] floats, however it is stored. */
async function loadColumns(matrix: TensorRecipe, k: number, n: number, transposed: boolean): Promise<Float32Array> {
  const stored = floatsOf(await cast(matrix, "float32").readRows(0, rowCount(matrix.shape)));
  if (!transposed) return stored;
  const turned = new Float32Array(k * n);
  for (let j = 0; j < n; j++) for (let i = 0; i < k; i++) turned[i * n + j] = stored[j * k + i] as number;
  return turned;
}

/** Readers' bytes may start anywhere in a shared buffer; typed arrays need aligned offsets. */
function floatsOf(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
