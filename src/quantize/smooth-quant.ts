import {
  type FloatDtype,
  isFloatDtype,
  linearForm,
  moduleOf,
  named,
  type QuantSpec,
  smoothNames,
  type TensorRecipe,
} from "../tensor/index.ts";
import { type ActRanges, joined, type LinearRange } from "./act-ranges.ts";
import { lazyFloats, once, roundHalfEven, roundTo } from "./lazy.ts";
import type { Quantizer, RankPlace } from "./quantizer.ts";
import { columnMaxima, dividedBy, SmoothedMatrix, smoother } from "./smoothing.ts";

/** What a family's converter does otherwise. */
export interface SmoothHabits {
  /** false: dense and proj keep their inputs as they are and get factors of 1 (TensorRT-LLM's GPT-2). */
  readonly smoothsRows: boolean;
  /** The norm before the MLP; "post_layernorm" where it is absent. */
  readonly mlpNorm?: "post_layernorm" | "pre_feedforward_layernorm";
}

/**
 * SmoothQuant as TensorRT-LLM's converters make it. Products that share an input (q, k, v; fc and gate) share factors s:
 * their weights are multiplied by s, the norm before them is divided by it; where no norm stands before a product, its
 * `smoother` is stored and the graph divides. Scales are those of whole matrices, so every rank has the same.
 */
export function smoothQuant(spec: QuantSpec, ranges: ActRanges, habits: SmoothHabits): Quantizer {
  const layers = new Map<string, SmoothLayer>();
  const layerOf = (name: string, number?: number): SmoothLayer => {
    const key = number === undefined ? layerName(name) : `transformer.layers.${number}`;
    const known = layers.get(key) ?? new SmoothLayer(key, spec, ranges, habits);
    layers.set(key, known);
    return known;
  };
  return {
    spec,
    prepare(name, part) {
      const module = moduleOf(name);
      if (module !== undefined && linearForm(spec, module).kind === "smooth") return layerOf(name).codes(module, part);
      const norm = /\.(\w+_layernorm)\.(?:weight|bias)$/.exec(name)?.[1];
      const absorbs = norm === "input_layernorm" || norm === (habits.mlpNorm ?? "post_layernorm");
      return absorbs ? layerOf(name).norm(norm, part) : part;
    },
    store(recipe, place) {
      const module = moduleOf(recipe.name);
      if (module === undefined || recipe.dtype !== "int8") return [recipe];
      return layerOf(recipe.name, place.layer).stored(recipe, module, place);
    },
  };
}

function layerName(name: string): string {
  return name.split(".").slice(0, 3).join(".");
}

/** One matrix of a product: q, k and v are three. */
interface Part {
  readonly matrix: SmoothedMatrix;
  readonly sources: readonly string[];
  /** 127 / max |w| of each row, or of the whole matrix for each row. */
  scales(): Promise<Float32Array>;
}

class SmoothLayer {
  readonly #name: string;
  readonly #ranges: ActRanges;
  readonly #habits: SmoothHabits;
  readonly #perToken: boolean;
  readonly #perChannel: boolean;
  readonly #alpha: number;
  readonly #parts = new Map<string, Part[]>();
  /** By the first product of an input. */
  readonly #factors = new Map<string, () => Promise<Float64Array>>();

  constructor(name: string, spec: QuantSpec, ranges: ActRanges, habits: SmoothHabits) {
    const form = linearForm(spec, `${name}.mlp.fc`);
    if (form.kind !== "smooth") throw new Error(`${spec.quantAlgo} is no SmoothQuant`);
    this.#name = name;
    this.#ranges = ranges;
    this.#habits = habits;
    this.#perToken = form.perToken;
    this.#perChannel = form.perChannel;
    this.#alpha = spec.smoothquantVal ?? 0.5;
  }

  /** The whole matrix as int8 codes [out, in]; what is known only when all parts are there is read later. */
  codes(module: string, recipe: TensorRecipe): TensorRecipe {
    const { dtype } = recipe;
    if (!isFloatDtype(dtype)) throw new Error(`${recipe.name} is ${dtype} before it is quantized`);
    const matrix = new SmoothedMatrix(recipe, dtype, () => this.#factorsOf(module)());
    const scales = once(async () => weightScales(await matrix.rowMaxima(), this.#perChannel, dtype));
    const part: Part = { matrix, sources: recipe.sources, scales };
    this.#parts.set(module, [...(this.#parts.get(module) ?? []), part]);
    // TensorRT-LLM multiplies half weights by one scale in half precision, and by a scale for each row (or each of q, k,
    // v) in float32.
    const coarse = !this.#perChannel && !module.endsWith(".qkv") ? dtype : "float32";
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const all = await scales();
      const codes = new Int8Array((end - start) * (recipe.shape[1] ?? 0));
      let filled = 0;
      for await (const band of matrix.bands(start, end)) {
        const part = codes.subarray(filled, filled + band.values.length);
        toCodes(band.values, all.subarray(band.start, band.end), coarse, part);
        filled += part.length;
      }
      return new Uint8Array(codes.buffer);
    };
    return { name: recipe.name, dtype: "int8", shape: recipe.shape, sources: recipe.sources, readRows };
  }

  norm(norm: string, recipe: TensorRecipe): TensorRecipe {
    if (!isFloatDtype(recipe.dtype)) throw new Error(`${recipe.name} is ${recipe.dtype}`);
    const module = norm === "input_layernorm" ? "attention.qkv" : "mlp.fc";
    return dividedBy(recipe, recipe.dtype, () => this.#factorsOf(`${this.#name}.${module}`)());
  }

  /** A rank's codes with their scales. */
  stored(codes: TensorRecipe, module: string, place: RankPlace): readonly TensorRecipe[] {
    const whole = `${this.#name}.${module.split(".").slice(3).join(".")}`;
    const parts = this.#parts.get(whole) ?? [];
    const range = this.#rangeOf(whole);
    const names = smoothNames(module);
    const floats = (name: string, shape: readonly number[], values: () => Promise<Float32Array>): TensorRecipe =>
      lazyFloats(name, shape, codes.sources, values);
    const [n = 0, k = 0] = codes.shape;
    const wide = this.#perChannel || module.endsWith(".qkv");
    const out = [
      named(`${module}.weight`, codes),
      floats(`${module}.per_channel_scale`, [1, wide ? n : 1], async () => {
        const scales = await this.#outputScales(whole, parts, range);
        return wide ? rowsOfRank(scales, parts, place, n) : scales.slice(0, 1);
      }),
    ];
    if (!this.#perToken)
      out.push(floats(`${module}.act_scale`, [1, 1], async () => Float32Array.of(largest(range.y) / 127)));
    if ((!this.#perToken || names.writtenPerToken) && !module.endsWith(".gate"))
      out.push(floats(names.inputScale, [1], async () => Float32Array.of(await this.#inputScale(whole, range))));
    if (names.smoother !== undefined)
      out.push(
        floats(names.smoother, [1, k], async () => {
          const factors = Float32Array.from(await this.#factorsOf(whole)());
          return place.split === "row" ? factors.slice(place.tpRank * k, (place.tpRank + 1) * k) : factors;
        }),
      );
    return out;
  }

  /**
   * Per token: 1 / (127 / max |w|), what a product of codes is multiplied by. Static: 127 / y over the products of both
   * input scales, for TensorRT-LLM's kernels leave y as codes; in float64 where both scales are single numbers, as
   * PyTorch promotes them.
   */
  async #outputScales(module: string, parts: readonly Part[], range: LinearRange): Promise<Float32Array> {
    const scales = joined(await Promise.all(parts.map(part => part.scales())));
    const { dtype } = (parts[0] as Part).matrix;
    if (this.#perToken)
      return roundFinite(
        dtype,
        scales.map(scale => 1 / scale),
      );
    const f = Math.fround;
    const x = await this.#inputScale(module, range);
    const y = f(f(1 / atLeast(largest(range.y))) * 127);
    const exact = !this.#perChannel && !module.endsWith(".qkv");
    return scales.map(scale => y / (exact ? x * scale : f(f(x) * scale)));
  }

  /** What inputs are multiplied by to become codes, in float64; tokens that are scaled one by one have 1 written. */
  async #inputScale(module: string, { x }: LinearRange): Promise<number> {
    if (this.#perToken) return 1;
    const factors = await this.#factorsOf(module)();
    let most = 0;
    for (let i = 0; i < x.length; i++) most = Math.max(most, (x[i] as number) / (factors[i] as number));
    return (1 / atLeast(most)) * 127;
  }

  #rangeOf(module: string): LinearRange {
    const range = this.#ranges.get(module);
    if (range === undefined) throw new Error(`no ranges of ${module}`);
    return range;
  }

  /** Factors of the product's inputs; found when first read, when every matrix of the input is known. */
  #factorsOf(module: string): () => Promise<Float64Array> {
    const first = module.replace(/\.gate$/, ".fc");
    const known = this.#factors.get(first) ?? once(() => this.#findFactors(first));
    this.#factors.set(first, known);
    return known;
  }

  async #findFactors(first: string): Promise<Float64Array> {
    const others = first.endsWith(".fc") ? (this.#parts.get(first.replace(/fc$/, "gate")) ?? []) : [];
    const matrices = [...(this.#parts.get(first) ?? []), ...others].map(({ matrix }) => matrix);
    const { x } = this.#rangeOf(first);
    const follows = first.endsWith(".qkv") || first.endsWith(".fc");
    if (!follows && !this.#habits.smoothsRows) return new Float64Array(x.length).fill(1);
    const weight = await columnMaxima(matrices.map(({ recipe }) => recipe));
    return smoother(x, weight, this.#alpha, (matrices[0] as SmoothedMatrix).dtype);
  }
}

/** 127 / max |w| of each row: reciprocal first and then the product, each rounded to the weights' dtype. */
function weightScales(maxima: Float32Array, perChannel: boolean, dtype: FloatDtype): Float32Array {
  const most = maxima.reduce((a, b) => Math.max(a, b), 0);
  const sizes = maxima.map(size => atLeast(perChannel ? size : most));
  const inverse = roundFinite(
    dtype,
    sizes.map(size => 1 / size),
  );
  return roundFinite(
    dtype,
    inverse.map(value => value * 127),
  );
}

/** Values too large for the dtype keep their float32. */
function roundFinite(dtype: FloatDtype, values: Float32Array): Float32Array {
  const rounded = roundTo(dtype, Float32Array.from(values));
  return values.map((value, i) => (Number.isFinite(rounded[i]) && rounded[i] !== 0 ? (rounded[i] as number) : value));
}

/** round(w · scale) within ±127, the product rounded to `dtype`; it takes the place of the values. */
function toCodes(values: Float32Array, scales: Float32Array, dtype: FloatDtype, codes: Int8Array): void {
  const columns = values.length / Math.max(1, scales.length);
  for (let i = 0; i < values.length; i++)
    values[i] = (values[i] as number) * (scales[Math.floor(i / columns)] as number);
  roundTo(dtype, values);
  for (let i = 0; i < values.length; i++) codes[i] = Math.max(-127, Math.min(127, roundHalfEven(values[i] as number)));
}

/** The rows of a rank's codes: a share of all, or of each of q, k and v, whose heads may be fewer than the ranks. */
function rowsOfRank(
  scales: Float32Array,
  parts: readonly Part[],
  { tpRank, tpSize, split }: RankPlace,
  n: number,
): Float32Array {
  if (split === "row") return scales;
  if (split === "halves") {
    const [half, share] = [scales.length / 2, n / 2];
    return joined([0, half].map(at => scales.subarray(at + tpRank * share, at + (tpRank + 1) * share)));
  }
  if (parts.length === 1) return scales.subarray(tpRank * n, (tpRank + 1) * n);
  const sizes = parts.map(({ matrix }) => matrix.recipe.shape[0] ?? 0);
  const queries = (sizes[0] ?? 0) / tpSize;
  const shares = [queries, (n - queries) / 2, (n - queries) / 2];
  let offset = 0;
  const rows = sizes.map((size, i) => {
    const share = shares[i] as number;
    const heads = size / share;
    const start = offset + Math.floor((tpRank * heads) / tpSize) * share;
    offset += size;
    return scales.subarray(start, start + share);
  });
  return joined(rows);
}

function largest(values: Float32Array): number {
  return values.reduce((a, b) => Math.max(a, b), 0);
}

/** Matrices and inputs of zeros alone have codes of 0 whatever their scale is. */
function atLeast(size: number): number {
  return Math.max(size, 1e-8);
}
