import { moduleOf, rowBytes, rowCount, sliceRows, type TensorRecipe } from "../tensor/index.ts";
import { eachBand } from "./bands.ts";
import type { Quantizer } from "./quantizer.ts";

/** Source bytes that quantizers with several passes keep together: with the rest convert stays below 250 MB. */
const LIMIT = 96 << 20;
/** Bytes of a band while a tensor is read in. */
const BAND = 1 << 20;

/**
 * Bytes of tensors that are read again and again (by several ranks, by one pass for scales and another for codes), kept
 * from the first read on, up to `limit` bytes together: the longest unused go first. What has gone is not kept again, so
 * that readers who take turns with more than fits cost no more than without.
 */
export class KeptBytes {
  readonly #limit: number;
  readonly #slices = new WeakMap<TensorRecipe["readRows"], Map<string, TensorRecipe>>();
  /** In the order of their last use. */
  readonly #kept = new Map<TensorRecipe, Promise<Uint8Array>>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Rows [start, end), kept; asked again it gives the same recipe, for another rank. */
  rows(recipe: TensorRecipe, start: number, end: number): TensorRecipe {
    const slices = this.#slices.get(recipe.readRows) ?? new Map<string, TensorRecipe>();
    this.#slices.set(recipe.readRows, slices);
    const key = `${start}-${end}`;
    const slice = slices.get(key) ?? this.keep(sliceRows(recipe, start, end));
    slices.set(key, slice);
    return slice;
  }

  /** The same tensor, kept. One beyond the limit is given as it is. */
  keep(recipe: TensorRecipe): TensorRecipe {
    const size = bytesOf(recipe);
    if (size > this.#limit) return recipe;
    const width = rowBytes(recipe.dtype, recipe.shape);
    let asked = false;
    const readRows = async (start: number, end: number): Promise<Uint8Array> => {
      if (!asked) {
        asked = true;
        this.#makeRoom(size);
        this.#kept.set(recipe, wholeOf(recipe));
      }
      const kept = this.#kept.get(recipe);
      if (kept === undefined) return recipe.readRows(start, end);
      this.#kept.delete(recipe);
      this.#kept.set(recipe, kept);
      return (await kept).subarray(start * width, end * width);
    };
    const { name, dtype, shape, sources } = recipe;
    return { name, dtype, shape, sources, readRows };
  }

  #makeRoom(size: number): void {
    for (const recipe of this.#kept.keys()) {
      if (this.#bytes + size <= this.#limit) break;
      this.#kept.delete(recipe);
      this.#bytes -= bytesOf(recipe);
    }
    this.#bytes += size;
  }
}

function bytesOf({ dtype, shape }: TensorRecipe): number {
  return rowCount(shape) * rowBytes(dtype, shape);
}

async function wholeOf(recipe: TensorRecipe): Promise<Uint8Array> {
  const width = rowBytes(recipe.dtype, recipe.shape);
  const bytes = new Uint8Array(Buffer.allocUnsafeSlow(bytesOf(recipe)).buffer);
  const bandRows = Math.max(1, Math.floor(BAND / Math.max(1, width)));
  const nothing = (): void => {};
  await eachBand(recipe, bandRows, (_, start) => bytes.subarray(start * width), nothing);
  return bytes;
}

/** `quantizer` over weights that are kept from its first pass to its last, where they fit. */
export function readOnce(quantizer: Quantizer): Quantizer {
  const kept = new KeptBytes(LIMIT);
  return {
    ...quantizer,
    prepare(name, part, index) {
      const source = moduleOf(name) === undefined ? part : kept.keep(part);
      return quantizer.prepare?.(name, source, index) ?? source;
    },
  };
}
