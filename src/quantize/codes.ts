import { cast, elementCount, rowCount, type TensorRecipe } from "../tensor/index.ts";

/** Source bytes of a band: a few rows, whatever the matrix's size. */
const BAND = 1 << 20;

/**
 * A float weight [n, k] as codes with a scale for each output, or for each output and group of `group` inputs:
 *   s = max |w| / 2^(bits − 1) in float32 of the stored values; code = w / s rounded half away from zero, clipped to
 *   −2^(bits − 1) … 2^(bits − 1) − 1; a scale of 0 gives codes of 0.
 * Codes are made with the unrounded scale; what is stored is the scale rounded to the weight's dtype (TensorRT-LLM's
 * symmetric_quantize). The weight is read once for the scales and once for the codes.
 */
export class CodedMatrix {
  readonly #weight: TensorRecipe;
  readonly #levels: number;
  readonly #group: number;
  #scales: Promise<Float32Array> | undefined;

  constructor(weight: TensorRecipe, bits: 8 | 4, group?: number) {
    const k = weight.shape[1] ?? 0;
    this.#weight = cast(weight, "float32");
    this.#levels = 2 ** (bits - 1);
    this.#group = group ?? k;
    if (weight.shape.length !== 2 || k % this.#group !== 0)
      throw new Error(`${weight.name} [${weight.shape}] has no groups of ${this.#group}`);
  }

  /** float32: [n], or in groups [k / group, n]. */
  get scales(): TensorRecipe {
    const [n = 0, k = 0] = this.#weight.shape;
    const groups = k / this.#group;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const scales = await this.#scaleOfRows();
      const width = groups === 1 ? 1 : n;
      const out = new Float32Array((end - start) * width);
      if (groups === 1) out.set(scales.subarray(start, end));
      else
        for (let g = start; g < end; g++)
          for (let row = 0; row < n; row++) out[(g - start) * n + row] = scales[row * groups + g] as number;
      return new Uint8Array(out.buffer);
    };
    const shape = groups === 1 && this.#group === k ? [n] : [groups, n];
    return { name: this.#weight.name, dtype: "float32", shape, sources: this.#weight.sources, readRows };
  }

  /** int8 [n, k], one code an element. */
  get codes(): TensorRecipe {
    const { name, shape, sources } = this.#weight;
    const [, k = 0] = shape;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const scales = await this.#scaleOfRows();
      const out = new Int8Array((end - start) * k);
      const groups = k / this.#group;
      for (let row = start; row < end; row += this.#bandRows) {
        const last = Math.min(end, row + this.#bandRows);
        const values = floatsOf(await this.#weight.readRows(row, last));
        quantizeInto(
          out.subarray((row - start) * k, (last - start) * k),
          values,
          scales.subarray(row * groups, last * groups),
          this.#group,
          this.#levels,
        );
      }
      return new Uint8Array(out.buffer);
    };
    return { name, dtype: "int8", shape, sources, readRows };
  }

  /** Unrounded scales, row by row: n · (k / group). Kept: a few KB. */
  #scaleOfRows(): Promise<Float32Array> {
    this.#scales ??= this.#findScales();
    return this.#scales;
  }

  async #findScales(): Promise<Float32Array> {
    const rows = rowCount(this.#weight.shape);
    const scales = new Float32Array(elementCount(this.#weight.shape) / this.#group);
    const groups = (this.#weight.shape[1] ?? 0) / this.#group;
    for (let row = 0; row < rows; row += this.#bandRows) {
      const last = Math.min(rows, row + this.#bandRows);
      const values = floatsOf(await this.#weight.readRows(row, last));
      findScales(scales.subarray(row * groups, last * groups), values, this.#group, this.#levels);
    }
    return scales;
  }

  get #bandRows(): number {
    return Math.max(1, Math.floor(BAND / (4 * Math.max(1, this.#weight.shape[1] ?? 0))));
  }
}

/** A division by a power of two is exact, so its order does not matter; NaN is passed on. */
function findScales(scales: Float32Array, values: Float32Array, group: number, levels: number): void {
  for (let s = 0, i = 0; s < scales.length; s++) {
    let most = 0;
    for (const end = i + group; i < end; i++) {
      const size = Math.abs(values[i] as number);
      if (size > most || Number.isNaN(size)) most = size;
    }
    scales[s] = most / levels;
  }
}

function quantizeInto(
  codes: Int8Array,
  values: Float32Array,
  scales: Float32Array,
  group: number,
  levels: number,
): void {
  const f = Math.fround;
  for (let s = 0, i = 0; s < scales.length; s++) {
    const scale = scales[s] as number;
    for (const end = i + group; i < end; i++) {
      if (scale === 0) continue;
      const x = f((values[i] as number) / scale);
      // Half away from zero; adding 0.5 first would round 0.49999997 up.
      const whole = Math.trunc(x);
      const code = Math.abs(x - whole) >= 0.5 ? whole + Math.sign(x) : whole;
      codes[i] = Math.max(-levels, Math.min(levels - 1, code));
    }
  }
}

/** int8 codes [r, c] of four bits two to a byte, the even column in the low half: [r, c / 2]. */
export function packNibbles(codes: TensorRecipe): TensorRecipe {
  const [rows = 0, columns = 0] = codes.shape;
  if (columns % 2 !== 0) throw new Error(`${codes.name} has ${columns} columns, which are no pairs`);
  const readRows = async (start: number, end: number): Promise<Uint8Array> => {
    const bytes = await codes.readRows(start, end);
    const out = Buffer.allocUnsafe(bytes.byteLength / 2);
    for (let i = 0; i < out.byteLength; i++)
      out[i] = ((bytes[2 * i] as number) & 15) | (((bytes[2 * i + 1] as number) & 15) << 4);
    return out;
  };
  return { name: codes.name, dtype: "int8", shape: [rows, columns / 2], sources: codes.sources, readRows };
}

function floatsOf(bytes: Uint8Array): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}
