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

/**
 * out[r, j] = Σ x[r, i] · m[j, i], one after the other in i. Four rows at a time: a value of m is then loaded once for
 * four products, which is half as fast again.
 */
function multiplyInto(
  out: Float32Array,
  at: number,
  x: Float32Array,
  m: Float32Array,
  rows: number,
  k: number,
  n: number,
): void {
  const f = Math.fround;
  const whole = rows - (rows % 4);
  for (let r = 0; r < whole; r += 4) {
    const [a, b, c, d] = [r * k, (r + 1) * k, (r + 2) * k, (r + 3) * k] as const;
    for (let j = 0; j < n; j++) {
      let [s0, s1, s2, s3] = [f(0), f(0), f(0), f(0)];
      for (let i = 0, o = j * k; i < k; i++, o++) {
        const w = m[o] as number;
        s0 = f(s0 + (x[a + i] as number) * w);
        s1 = f(s1 + (x[b + i] as number) * w);
        s2 = f(s2 + (x[c + i] as number) * w);
        s3 = f(s3 + (x[d + i] as number) * w);
      }
      const to = at + r * n + j;
      out[to] = s0;
      out[to + n] = s1;
      out[to + 2 * n] = s2;
      out[to + 3 * n] = s3;
    }
  }
  for (let r = whole; r < rows; r++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum = f(sum + (x[r * k + i] as number) * (m[j * k + i] as number));
      out[at + r * n + j] = sum;
    }
  }
}

/** The matrix as [N, K] floats, however it is stored: both factors are then read in order. */
async function loadColumns(matrix: TensorRecipe, k: number, n: number, transposed: boolean): Promise<Float32Array> {
  const stored = floatsOf(await cast(matrix, "float32").readRows(0, rowCount(matrix.shape)));
  if (transposed) return stored;
  const turned = new Float32Array(k * n);
  for (let i = 0; i < k; i++) for (let j = 0; j < n; j++) turned[j * k + i] = stored[i * n + j] as number;
  return turned;
}

/** Readers' bytes may start anywhere in a shared buffer; typed arrays need aligned offsets. */
function floatsOf(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
