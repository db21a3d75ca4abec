import { cast, type FloatDtype, type TensorRecipe, transpose } from "../tensor/index.ts";
import { packNibbles } from "./codes.ts";
import { floatView, lazyFloats, once, roundTo } from "./lazy.ts";
import { bandsOf } from "./smoothing.ts";

/** INT4 reaches one step further below zero than above. */
export const HIGHEST = 7;
export const LOWEST = -8;

/**
 * A matrix [n, k] as INT4 codes in groups with scales that cut nothing off: s = max(w⁺ / 7, w⁻ / 8) of the largest values
 * above and below zero. TensorRT-LLM's plain INT4 has max |w| / 8 and cuts the largest value off where it is positive; AWQ makes
 * important channels the largest of their groups, and would lose what it is for. Codes are made with the scale that is
 * stored, rounded to the weights' dtype.
 */
export class FittedGroups {
  readonly #weight: TensorRecipe;
  readonly #dtype: FloatDtype;
  readonly #group: number;
  /** Row by row, n · (k / group). */
  readonly #scales: () => Promise<Float32Array>;

  constructor(weight: TensorRecipe, group: number) {
    this.#weight = weight;
    this.#dtype = weight.dtype as FloatDtype;
    this.#group = group;
    this.#scales = once(() => this.#find());
  }

  /** [k / group, n] in the weights' dtype. */
  get scales(): TensorRecipe {
    const [n = 0, k = 0] = this.#weight.shape;
    const groups = k / this.#group;
    const values = async (): Promise<Float32Array> => {
      const scales = await this.#scales();
      return Float32Array.from(scales, (_, i) => scales[(i % n) * groups + Math.floor(i / n)] as number);
    };
    return cast(lazyFloats(this.#weight.name, [groups, n], this.#weight.sources, values), this.#dtype);
  }

  /** int8 [k, n / 2], the even output in the low half. */
  get codes(): TensorRecipe {
    const { name, shape, sources } = this.#weight;
    const groups = (shape[1] ?? 0) / this.#group;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      const values = floatView(await cast(this.#weight, "float32").readRows(start, end));
      const scales = (await this.#scales()).subarray(start * groups, end * groups);
      const codes = Int8Array.from(values, (value, i) => {
        const scale = scales[Math.floor(i / this.#group)] as number;
        return scale === 0 ? 0 : Math.max(LOWEST, Math.min(HIGHEST, Math.round(value / scale)));
      });
      return new Uint8Array(codes.buffer);
    };
    return packNibbles(transpose({ name, dtype: "int8", shape, sources, readRows }));
  }

  async #find(): Promise<Float32Array> {
    const [n = 0, k = 0] = this.#weight.shape;
    const scales = new Float32Array((n * k) / this.#group);
    for await (const { start, values } of bandsOf(this.#weight)) {
      const first = (start * k) / this.#group;
      for (let i = 0, s = first; i < values.length; i += this.#group, s++) {
        let [high, low] = [0, 0];
        for (let j = i; j < i + this.#group; j++) {
          high = Math.max(high, values[j] as number);
          low = Math.min(low, values[j] as number);
        }
        scales[s] = Math.max(high / HIGHEST, low / LOWEST);
      }
    }
    return roundTo(this.#dtype, scales);
  }
}
