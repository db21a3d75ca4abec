import { cast, type FloatDtype, isFloatDtype, type TensorRecipe } from "../tensor/index.ts";
import { floatView, once, roundTo, widen } from "./lazy.ts";

/** Values of a band: a few rows of any matrix. */
const BAND = 1 << 18;

/** Rows [first, last) of a float matrix as float32, band by band; the next takes the place of the one before. */
export async function* bandsOf(
  recipe: TensorRecipe,
  first = 0,
  last = recipe.shape[0] ?? 0,
): AsyncGenerator<{ readonly start: number; readonly end: number; readonly values: Float32Array }> {
  const { dtype } = recipe;
  const [, columns = 0] = recipe.shape;
  if (!isFloatDtype(dtype)) throw new Error(`${recipe.name} is ${dtype} before it is quantized`);
  const step = Math.max(1, Math.floor(BAND / Math.max(1, columns)));
  const target = new Float32Array(Math.min(last - first, step) * columns);
  for (let start = first; start < last; start += step) {
    const end = Math.min(last, start + step);
    yield { start, end, values: widen(await recipe.readRows(start, end), dtype, target) };
  }
}

/** Largest |w| of each column over all matrices, which share their inputs. */
export async function columnMaxima(matrices: readonly TensorRecipe[]): Promise<Float32Array> {
  const columns = matrices[0]?.shape[1] ?? 0;
  const most = new Float32Array(columns);
  for (const matrix of matrices) {
    for await (const { values } of bandsOf(matrix)) {
      for (let i = 0; i < values.length; i += columns) {
        for (let c = 0; c < columns; c++) {
          const size = Math.abs(values[i + c] as number);
          if (size > (most[c] as number)) most[c] = size;
        }
      }
    }
  }
  return most;
}

/** Smallest factor of a channel, and smallest |w| that is divided by. */
const LEAST = 1e-5;

/**
 * The factor of each input channel, in float64: s = max(|x|^α / |w|^(1−α), 1e-5), where |w|^(1−α) is rounded to the
 * weights' dtype as in TensorRT-LLM. A channel that no calibration text used keeps its factor of 1: TensorRT-LLM's 1e-5
 * would enlarge the first value that does use it a hundred thousand times.
 */
export function smoother(x: Float32Array, weight: Float32Array, alpha: number, dtype: FloatDtype): Float64Array {
  const power = (value: number, exponent: number): number => (exponent === 0.5 ? Math.sqrt(value) : value ** exponent);
  const divisors = roundTo(
    dtype,
    weight.map(size => power(size, 1 - alpha)),
  );
  return Float64Array.from(x, (size, channel) => {
    if (size === 0) return 1;
    return Math.max(power(size, alpha) / Math.max(divisors[channel] as number, LEAST), LEAST);
  });
}

/** A float matrix with every column multiplied by a factor, rounded to the matrix's dtype. */
export class SmoothedMatrix {
  readonly recipe: TensorRecipe;
  readonly dtype: FloatDtype;
  readonly #factors: () => Promise<Float64Array>;
  /** Largest |w| of each row. */
  readonly rowMaxima: () => Promise<Float32Array>;

  constructor(recipe: TensorRecipe, dtype: FloatDtype, factors: () => Promise<Float64Array>) {
    this.recipe = recipe;
    this.dtype = dtype;
    this.#factors = factors;
    this.rowMaxima = once(() => this.#findRowMaxima());
  }

  async readRows(start: number, end: number): Promise<Float32Array> {
    const columns = this.recipe.shape[1] ?? 0;
    const all = new Float32Array((end - start) * columns);
    for await (const band of this.bands(start, end)) all.set(band.values, (band.start - start) * columns);
    return all;
  }

  /** Rows [start, end) as `bandsOf` gives them. */
  async *bands(start: number, end: number): ReturnType<typeof bandsOf> {
    for await (const band of bandsOf(this.recipe, start, end)) {
      await this.#multiply(band.values);
      yield band;
    }
  }

  async #multiply(values: Float32Array): Promise<void> {
    const factors = await this.#factors();
    for (let i = 0; i < values.length; i += factors.length) {
      for (let c = 0; c < factors.length; c++) values[i + c] = (values[i + c] as number) * (factors[c] as number);
    }
    roundTo(this.dtype, values);
  }

  async #findRowMaxima(): Promise<Float32Array> {
    const [rows = 0, columns = 0] = this.recipe.shape;
    const most = new Float32Array(rows);
    for await (const { start, values } of this.bands(0, rows)) {
      for (let i = 0; i < values.length; i++) {
        const row = start + Math.floor(i / columns);
        const size = Math.abs(values[i] as number);
        if (size > (most[row] as number) || Number.isNaN(size)) most[row] = size;
      }
    }
    return most;
  }
}

/** A norm's weight or bias with every channel divided by its factor, in the dtype it has. */
export function dividedBy(recipe: TensorRecipe, dtype: FloatDtype, factors: () => Promise<Float64Array>): TensorRecipe {
  const wide: TensorRecipe = {
    name: recipe.name,
    dtype: "float32",
    shape: recipe.shape,
    sources: recipe.sources,
    readRows: async (start, end) => {
      const values = Float32Array.from(floatView(await cast(recipe, "float32").readRows(start, end)));
      const all = await factors();
      return new Uint8Array(values.map((value, i) => value / (all[start + i] as number)).buffer);
    },
  };
  return cast(wide, dtype);
}
