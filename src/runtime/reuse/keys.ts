import { createHash } from "node:crypto";
import type { PixelValues } from "../image/preprocess.ts";
import type { Features } from "../prompt-table.ts";

/** What stands for tokens of a prompt in the index. Text is its ids; a row of the prompt table is what it was made of. */
export class BlockKeys {
  readonly #tokens: number;
  readonly #vocabSize: number;
  readonly #hashes: readonly string[];
  /** Row that each image begins with. */
  readonly #starts: readonly number[];

  /** @param tokens of a block; ids from `vocabSize` on are rows of `table`. */
  constructor(tokens: number, vocabSize: number, table: Features | undefined) {
    this.#tokens = tokens;
    this.#vocabSize = vocabSize;
    // Features that came without the hashes of their images are known by their own values, all in one.
    this.#hashes = table === undefined ? [] : (table.hashes ?? [hashOf(table.values)]);
    this.#starts = startsOf(table, this.#hashes.length);
  }

  /** One key for each whole block of the prompt; the first one's holds what else all of them depend on (`owner`). */
  of(ids: readonly number[], owner = ""): readonly string[] {
    return Array.from({ length: Math.floor(ids.length / this.#tokens) }, (_, block) => {
      const key = this.#key(ids.slice(block * this.#tokens, (block + 1) * this.#tokens));
      return block === 0 && owner !== "" ? `[${owner}]${key}` : key;
    });
  }

  /** `5,17,<hash>:0,:1,:2`: an image's hash is written where it begins in the block. */
  #key(ids: readonly number[]): string {
    let image = -1;
    const words = ids.map(id => {
      if (id < this.#vocabSize) {
        image = -1;
        return String(id);
      }
      const row = id - this.#vocabSize;
      const own = this.#starts.findLastIndex(start => start <= row);
      const hash = own === image ? "" : this.#hashes[own];
      image = own;
      return `${hash}:${row - (this.#starts[own] as number)}`;
    });
    return words.join(",");
  }
}

function startsOf(table: Features | undefined, images: number): readonly number[] {
  if (table === undefined) return [];
  const rows = table.imageRows ?? new Array<number>(images).fill(table.rows / images);
  let start = 0;
  return rows.map(count => {
    start += count;
    return start - count;
  });
}

/** Tiles alike are of two images where bars are cut off from one of them and black pixels are kept of the other. */
export function hashOfImage({ data, height, width, tokens }: PixelValues): string {
  const { top = 0, left = 0, rows = 0, cols = 0 } = tokens?.kept ?? {};
  return hashOf(data, height, width, ...(tokens?.kept === undefined ? [] : [top, left, rows, cols]));
}

/** SHA-256 of numbers, as they lie in memory. */
export function hashOf(values: Float32Array, ...dims: readonly number[]): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return createHash("sha256").update(Int32Array.from(dims)).update(bytes).digest("hex");
}
