import {
  bf16ToF32,
  cast,
  elementCount,
  type FloatDtype,
  f16ToF32,
  isFloatDtype,
  rowBytes,
  type TensorRecipe,
  transpose,
} from "../tensor/index.ts";
import { eachBand, type Slot } from "./bands.ts";
import { Workbench } from "./workbench.ts";

/** Source bytes of a band: a few rows, whatever the matrix's size, and what a core's cache holds. */
const BAND = 1 << 20;
/** Most bytes of codes made in one pass over a matrix: a quarter of what convert may take. */
const PANEL = 64 << 20;
/** What the kernels take at once, in both directions. */
const TILE = 16;
/** Rows whose codes fill a cache line, and columns of them that stay in a core's cache while they are turned. */
const LINE = 64;
const COLUMNS = 512;

/**
 * A float weight [n, k] as codes with a scale for each output, or for each output and group of `group` inputs:
 *   s = max |w| / 2^(bits − 1) in float32 of the stored values; code = w / s rounded half away from zero, clipped to
 *   −2^(bits − 1) … 2^(bits − 1) − 1; a scale of 0 gives codes of 0.
 * Codes are made with the unrounded scale; what is stored is the scale rounded to the weight's dtype (TensorRT-LLM's
 * symmetric_quantize). The weight is read once for each PANEL of codes (less while other files are written as well), and
 * once more where the scales are asked for first.
 */
export class CodedMatrix {
  readonly #weight: TensorRecipe;
  readonly #dtype: FloatDtype;
  readonly #bits: 8 | 4;
  readonly #group: number;
  readonly #grouped: boolean;
  #scales: Promise<Float32Array> | undefined;

  constructor(weight: TensorRecipe, bits: 8 | 4, group?: number) {
    const k = weight.shape[1] ?? 0;
    if (!isFloatDtype(weight.dtype)) throw new Error(`${weight.name} is ${weight.dtype} before it is quantized`);
    this.#weight = weight;
    this.#dtype = weight.dtype;
    this.#bits = bits;
    this.#group = group ?? k;
    this.#grouped = group !== undefined;
    if (weight.shape.length !== 2 || k % this.#group !== 0)
      throw new Error(`${weight.name} [${weight.shape}] has no groups of ${this.#group}`);
  }

  /** In the weight's dtype: [n], or in groups [k / group, n]. */
  get scales(): TensorRecipe {
    const [n = 0, k = 0] = this.#weight.shape;
    const groups = k / this.#group;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const scales = await this.#scaleOfRows();
      if (!this.#grouped) return new Uint8Array(scales.slice(start, end).buffer);
      const out = new Float32Array((end - start) * n);
      for (let g = start; g < end; g++)
        for (let row = 0; row < n; row++) out[(g - start) * n + row] = scales[row * groups + g] as number;
      return new Uint8Array(out.buffer);
    };
    const shape = this.#grouped ? [groups, n] : [n];
    const { name, sources } = this.#weight;
    return { ...cast({ name, dtype: "float32", shape, sources, readRows }, this.#dtype), late: true };
  }

  /** int8 [n, k], one code an element. */
  get codes(): TensorRecipe {
    const { name, shape, sources } = this.#weight;
    const [, k = 0] = shape;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const scales = await this.#scaleOfRows();
      const out = new Int8Array((end - start) * k);
      const groups = k / this.#group;
      const wide = cast(this.#weight, "float32");
      for (let row = start; row < end; row += this.#bandRows) {
        const last = Math.min(end, row + this.#bandRows);
        const codes = out.subarray((row - start) * k, (last - start) * k);
        const values = floatsOf(await wide.readRows(row, last));
        quantizeInto(codes, values, scales.subarray(row * groups, last * groups), this.#group, this.#levels);
      }
      return new Uint8Array(out.buffer);
    };
    return { name, dtype: "int8", shape, sources, readRows };
  }

  /** The codes as graphs read them: int8 [k, n], or two of four bits to a byte [k, n / 2]. */
  get turned(): TensorRecipe {
    const codes = transpose(this.codes);
    const plain = this.#bits === 8 ? codes : packNibbles(codes);
    if (!this.#fitsKernels) return plain;
    const [k = 0] = plain.shape;
    const width = rowBytes("int8", plain.shape);
    let panel: Panel | undefined;
    const release = (): void => {
      panel?.bench.giveBack();
      panel = undefined;
    };
    let finite: boolean | undefined;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      if (finite === false) return plain.readRows(start, end);
      if (panel === undefined || start < panel.start || end > panel.end) {
        release();
        const panelRows = Math.floor(PANEL / (1 + Workbench.taken) / width / COLUMNS) * COLUMNS;
        const first = Math.floor(start / COLUMNS) * COLUMNS;
        const last = Math.min(k, Math.max(Math.ceil(end / COLUMNS) * COLUMNS, first + panelRows));
        panel = await this.#turnedPanel(first, last);
        // A scale that is no number comes from a damaged weight; the slow way gives such rows codes of 0.
        finite ??= (await this.#scaleOfRows()).every(Number.isFinite);
        if (!finite) return plain.readRows(start, end);
      }
      const { bench, at, start: first } = panel;
      // A copy: the bench goes to another matrix while these bytes are still on their way to the file.
      const bytes = bench.bytes.slice(at + (start - first) * width, at + (end - first) * width);
      if (end === k) release();
      return bytes;
    };
    return { ...plain, readRows, release };
  }

  /** Codes of inputs first … last − 1 for every output, by the kernels; finds the scales on the way if they are not known. */
  async #turnedPanel(first: number, last: number): Promise<Panel> {
    const [n = 0, k = 0] = this.#weight.shape;
    const known = await this.#scales;
    const scales = known ?? new Float32Array((n * k) / this.#group);
    const groups = k / this.#group;
    const width = (n * this.#bits) / 8;
    const [band, scalesAt] = [this.#bandBytes, 2 * this.#bandBytes];
    const at = scalesAt + scales.byteLength;
    const bench = Workbench.take(at + (last - first) * width);
    const { quantize } = bench.kernels(this.#dtype, this.#bits);
    const [bits, size, group] = [this.#bits, this.#size, this.#group];
    // LINE rows by COLUMNS, or what is left of a group, which has one scale: what is read and written of a piece stays in a core's cache.
    const useBand = (row: number, end: number, slot: Slot): void => {
      const ofBand = scales.subarray(row * groups, end * groups);
      if (known === undefined) this.#findLargest(bench, slot * band, (end - row) * k * size, ofBand);
      placeScales(bench.floats.subarray(scalesAt / 4, at / 4), ofBand, row, n);
      for (let line = row; line < end; line += LINE) {
        const lineEnd = Math.min(end, line + LINE);
        for (let column = first, columns = 0; column < last; column += columns) {
          columns = Math.min(last - column, COLUMNS, group - (column % group));
          const scalesOfGroup = scalesAt + Math.floor(column / group) * n * 4;
          const target = at + (column - first) * width;
          for (let tile = line; tile < lineEnd; tile += TILE) {
            const source = slot * band + ((tile - row) * k + column) * size;
            quantize(source, k * size, columns, scalesOfGroup + tile * 4, target + (tile * bits) / 8, width);
          }
        }
      }
    };
    await bench.during(eachBand(this.#weight, this.#bandRows, slot => bench.bytes.subarray(slot * band), useBand));
    this.#scales ??= Promise.resolve(scales);
    return { start: first, end: last, bench, at };
  }

  /** Unrounded scales, row by row: n · (k / group). Kept: a few KB. */
  #scaleOfRows(): Promise<Float32Array> {
    this.#scales ??= this.#findScales();
    return this.#scales;
  }

  async #findScales(): Promise<Float32Array> {
    const [rows = 0, k = 0] = this.#weight.shape;
    const scales = new Float32Array(elementCount(this.#weight.shape) / this.#group);
    const groups = k / this.#group;
    const wide = cast(this.#weight, "float32");
    if (this.#fitsKernels) {
      const band = this.#bandBytes;
      const bench = Workbench.take(2 * band);
      const useBand = (row: number, end: number, slot: Slot): void => {
        const ofBand = scales.subarray(row * groups, end * groups);
        this.#findLargest(bench, slot * band, (end - row) * k * this.#size, ofBand);
      };
      await bench.during(eachBand(this.#weight, this.#bandRows, slot => bench.bytes.subarray(slot * band), useBand));
      bench.giveBack();
      return scales;
    }
    for (let row = 0; row < rows; row += this.#bandRows) {
      const last = Math.min(rows, row + this.#bandRows);
      const values = floatsOf(await wide.readRows(row, last));
      findScales(scales.subarray(row * groups, last * groups), values, this.#group, this.#levels);
    }
    return scales;
  }

  /** Of `bytes` of a band from byte `from` of the bench; what is found is put behind it. */
  #findLargest(bench: Workbench, from: number, bytes: number, scales: Float32Array): void {
    const behind = from + bytes;
    bench.kernels(this.#dtype, this.#bits).largest(from, scales.length, this.#group * this.#size, behind);
    const bits = bench.words.subarray(behind / 4, behind / 4 + scales.length);
    if (this.#dtype === "float32") new Uint32Array(scales.buffer, scales.byteOffset, scales.length).set(bits);
    else {
      const halves = new Uint16Array(bits.length);
      halves.set(bits);
      (this.#dtype === "float16" ? f16ToF32 : bf16ToF32)(halves, scales);
    }
    const levels = this.#levels;
    for (let i = 0; i < scales.length; i++) scales[i] = (scales[i] as number) / levels;
  }

  get #levels(): number {
    return 2 ** (this.#bits - 1);
  }

  get #size(): number {
    return this.#dtype === "float32" ? 4 : 2;
  }

  get #fitsKernels(): boolean {
    const [n = 0, k = 0] = this.#weight.shape;
    return n > 0 && k > 0 && n % TILE === 0 && this.#group % TILE === 0;
  }

  /** Of a band and of what is found in it. */
  get #bandBytes(): number {
    const [, k = 0] = this.#weight.shape;
    return this.#bandRows * (k * this.#size + (k / this.#group) * 4);
  }

  get #bandRows(): number {
    const rows = Math.floor(BAND / Math.max(1, this.#size * (this.#weight.shape[1] ?? 0)));
    return Math.max(LINE, Math.floor(rows / LINE) * LINE);
  }
}

/** Codes of inputs start … end − 1 for every output, from byte `at` of a bench. */
interface Panel {
  readonly start: number;
  readonly end: number;
  readonly bench: Workbench;
  readonly at: number;
}

/**
 * Row by row from row `first` → group by group, all `n` outputs of each: the scales of neighbouring outputs lie side by
 * side. A scale of 0 gives codes of 0.
 */
function placeScales(target: Float32Array, scales: Float32Array, first: number, n: number): void {
  const groups = target.length / n;
  for (let i = 0, row = first; i < scales.length; row++) {
    for (let g = 0; g < groups; g++, i++) {
      const scale = scales[i] as number;
      target[g * n + row] = scale === 0 ? Number.POSITIVE_INFINITY : scale;
    }
  }
}

/** NaN is passed on: such a scale shows where the weight is damaged. */
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
