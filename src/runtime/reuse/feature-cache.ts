import { type Features, joinFeatures } from "../prompt-table.ts";

/**
 * Features of images by the hash of their pixels, the one used longest ago first in the map. Images are encoded one by
 * one here: in a batch with others their last digits could be other ones, and with them all keys and values behind.
 */
export class FeatureCache {
  readonly #budget: number;
  readonly #known = new Map<string, Features>();
  #bytes = 0;

  /** @param budget bytes of features kept at most. */
  constructor(budget: number) {
    this.#budget = budget;
  }

  /** The features of images with these hashes, in order; `encode` is asked once for each that is not known. */
  async features(hashes: readonly string[], encode: (image: number) => Promise<Features>): Promise<Features> {
    const all: Features[] = [];
    const fresh = new Map<string, Features>();
    for (const [i, hash] of hashes.entries()) {
      const one = fresh.get(hash) ?? this.#use(hash) ?? (await encode(i));
      fresh.set(hash, one);
      all.push(one);
    }
    for (const [hash, one] of fresh) this.#keep(hash, one);
    return { ...joinFeatures(all), imageRows: all.map(one => one.rows), hashes };
  }

  #use(hash: string): Features | undefined {
    const known = this.#known.get(hash);
    if (known === undefined) return undefined;
    this.#known.delete(hash);
    this.#known.set(hash, known);
    return known;
  }

  #keep(hash: string, features: Features): void {
    if (this.#known.has(hash) || bytesOf(features) > this.#budget) return;
    this.#known.set(hash, features);
    this.#bytes += bytesOf(features);
    for (const [oldest, given] of this.#known) {
      if (this.#bytes <= this.#budget) return;
      this.#known.delete(oldest);
      this.#bytes -= bytesOf(given);
    }
  }
}

function bytesOf({ values, deepstack }: Features): number {
  return values.byteLength + (deepstack?.byteLength ?? 0);
}
