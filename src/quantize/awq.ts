import {
  cast,
  type FloatDtype,
  isFloatDtype,
  linearForm,
  moduleOf,
  named,
  type QuantSpec,
  type TensorRecipe,
} from "../tensor/index.ts";
import type { ActRanges } from "./act-ranges.ts";
import { type AwqSearch, openAwqSearch } from "./awq-search.ts";
import { FittedGroups } from "./fitted-groups.ts";
import { lazyFloats, once, roundTo } from "./lazy.ts";
import type { Quantizer } from "./quantizer.ts";
import { SmoothedMatrix } from "./smoothing.ts";

/**
 * INT4 in groups with activation-aware scales (AWQ, Lin et al. 2023): the channels of an input that are large are
 * multiplied by s before the weights are rounded and divided by s in the input (`prequant_scaling_factor` = 1 / s), with
 * s = mean |x|^α and the α that leaves the smallest error of the products on calibration texts. Products that share an
 * input (q, k, v; fc and gate) share s.
 */
export function awq(spec: QuantSpec, ranges: ActRanges): Quantizer {
  const inputs = new Map<string, Input>();
  const search = once(() => openAwqSearch(spec.groupSize));
  const inputOf = (module: string): Input => {
    const first = module.replace(/\.gate$/, ".fc");
    const known = inputs.get(first) ?? new Input(first, ranges, search);
    inputs.set(first, known);
    return known;
  };
  return {
    spec,
    prepare(name, part) {
      const module = moduleOf(name);
      if (module === undefined || linearForm(spec, module).kind !== "group") return part;
      return inputOf(module).scaled(part);
    },
    store(recipe, place) {
      const module = moduleOf(recipe.name);
      if (module === undefined || linearForm(spec, module).kind !== "group") return [recipe];
      const whole = `transformer.layers.${place.layer}.${module.split(".").slice(3).join(".")}`;
      const [, k = 0] = recipe.shape;
      const float = recipe.dtype as FloatDtype;
      const matrix = new FittedGroups(recipe, spec.groupSize);
      const factors = lazyFloats(`${module}.prequant_scaling_factor`, [k], recipe.sources, async () => {
        const all = await inputOf(whole).prequant();
        return place.split === "row" ? all.slice(place.tpRank * k, (place.tpRank + 1) * k) : all;
      });
      return [
        named(recipe.name, matrix.codes),
        named(`${module}.weights_scaling_factor`, matrix.scales),
        cast(factors, float),
      ];
    },
  };
}

/** One input of a layer and the products that take it. */
class Input {
  readonly #name: string;
  readonly #ranges: ActRanges;
  readonly #search: () => Promise<AwqSearch>;
  readonly #matrices: TensorRecipe[] = [];
  /** 1 / s of each channel, as it is stored. */
  readonly prequant: () => Promise<Float32Array>;

  constructor(name: string, ranges: ActRanges, search: () => Promise<AwqSearch>) {
    this.#name = name;
    this.#ranges = ranges;
    this.#search = search;
    this.prequant = once(() => this.#find());
  }

  /** The matrix with its columns multiplied by s, in the dtype it has. */
  scaled(recipe: TensorRecipe): TensorRecipe {
    const { dtype } = recipe;
    if (!isFloatDtype(dtype)) throw new Error(`${recipe.name} is ${dtype} before it is quantized`);
    this.#matrices.push(recipe);
    const factors = once(async () => Float64Array.from(await this.prequant(), value => 1 / value));
    const matrix = new SmoothedMatrix(recipe, dtype, factors);
    const wide: TensorRecipe = {
      name: recipe.name,
      dtype: "float32",
      shape: recipe.shape,
      sources: recipe.sources,
      readRows: async (start, end) => new Uint8Array((await matrix.readRows(start, end)).buffer),
    };
    return cast(wide, dtype);
  }

  async #find(): Promise<Float32Array> {
    const rows = await this.#ranges.get(this.#name)?.rows?.();
    if (rows === undefined) throw new Error(`no activations of ${this.#name}`);
    const search = await this.#search();
    const factors = await search.best(this.#matrices, rows);
    const dtype = this.#matrices[0]?.dtype as FloatDtype;
    return roundTo(
      dtype,
      factors.map(value => 1 / value),
    );
  }
}
