import {
  byteLength,
  isFloatDtype,
  linearForm,
  moduleOf,
  named,
  type QuantSpec,
  type TensorRecipe,
} from "../tensor/index.ts";
import type { ActRanges } from "./act-ranges.ts";
import { E4M3_MAX, toE4m3 } from "./e4m3.ts";
import { lazyFloats, once, widen } from "./lazy.ts";
import type { Quantizer } from "./quantizer.ts";
import { columnMaxima } from "./smoothing.ts";

/**
 * FP8 as ModelOpt exports it for TensorRT-LLM: E4M3 weights [out, in] and inputs, one scale each: max |w| / 448 over the
 * whole product (q, k and v together, every rank alike) and max |x| / 448 over the calibration texts.
 */
export function fp8(spec: QuantSpec, ranges: ActRanges): Quantizer {
  const products = new Map<string, Product>();
  return {
    spec,
    prepare(name, part) {
      const module = moduleOf(name);
      if (module === undefined || linearForm(spec, module).kind !== "fp8") return part;
      const product = products.get(module) ?? new Product();
      products.set(module, product);
      return product.codes(part);
    },
    store(recipe, { layer }) {
      const module = moduleOf(recipe.name);
      if (module === undefined || recipe.dtype !== "float8_e4m3fn") return [recipe];
      const whole = `transformer.layers.${layer}.${module.split(".").slice(3).join(".")}`;
      const scale = (name: string, values: () => Promise<number>): TensorRecipe =>
        lazyFloats(`${module}.${name}`, [1], recipe.sources, async () => Float32Array.of(await values()));
      return [
        named(recipe.name, recipe),
        scale("weights_scaling_factor", async () => (await products.get(whole)?.scale()) as number),
        scale("activation_scaling_factor", async () => inputScale(ranges, whole)),
      ];
    },
  };
}

/** Values on their way to codes: 64 KB stay in a core's cache. */
const scratch = new Float32Array(16_384);

/** The matrices of one product, which share a scale. */
class Product {
  readonly #parts: TensorRecipe[] = [];
  readonly scale = once(async () => {
    let most = 0;
    for (const part of this.#parts) most = (await columnMaxima([part])).reduce((a, b) => Math.max(a, b), most);
    return scaleOf(most);
  });

  codes(recipe: TensorRecipe): TensorRecipe {
    if (!isFloatDtype(recipe.dtype)) throw new Error(`${recipe.name} is ${recipe.dtype} before it is quantized`);
    this.#parts.push(recipe);
    const { dtype } = recipe;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const scale = await this.scale();
      const bytes = await recipe.readRows(start, end);
      const size = byteLength(dtype, []);
      const codes = new Uint8Array(bytes.byteLength / size);
      for (let at = 0; at < codes.length; at += scratch.length) {
        const values = widen(bytes.subarray(at * size, (at + scratch.length) * size), dtype, scratch);
        for (let i = 0; i < values.length; i++) codes[at + i] = toE4m3(Math.fround((values[i] as number) / scale));
      }
      return codes;
    };
    return { name: recipe.name, dtype: "float8_e4m3fn", shape: recipe.shape, sources: recipe.sources, readRows };
  }
}

function inputScale(ranges: ActRanges, module: string): number {
  const range = ranges.get(module);
  if (range === undefined) throw new Error(`no ranges of ${module}`);
  return scaleOf(range.x.reduce((a, b) => Math.max(a, b), 0));
}

/** What is zero everywhere has codes of 0 whatever its scale is. */
function scaleOf(most: number): number {
  return Math.fround(Math.max(most, 1e-8) / E4M3_MAX);
}
