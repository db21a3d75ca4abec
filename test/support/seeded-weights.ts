import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { cast, type TensorRecipe } from "../../src/tensor/index.ts";
import { unpack } from "./packed-weights.ts";

const PARITY = fileURLToPath(new URL("../fixtures/parity", import.meta.url));
const TRAINED = fileURLToPath(new URL("../fixtures/models", import.meta.url));
const PACKED = ".packed";

interface SeededWeights {
  readonly seed: number;
  /** dtype, shape, deviation, mean. */
  readonly tensors: Readonly<Record<string, readonly ["F16" | "F32", readonly number[], number, number]>>;
}

/**
 * Before the first test: model.safetensors of every fixture that keeps less in its place (17 MB that the repository need not
 * carry). weights.json is a seed, and test/reference/seeded.py says what the numbers are; trained weights are packed.
 */
export async function setup(): Promise<void> {
  await makeSeeded();
  unpackTrained();
}

async function makeSeeded(): Promise<void> {
  for (const name of readdirSync(PARITY)) {
    const [recipe, model] = [join(PARITY, name, "weights.json"), join(PARITY, name, "model.safetensors")];
    if (!existsSync(recipe) || isNewer(model, recipe)) continue;
    const weights = JSON.parse(readFileSync(recipe, "utf8")) as SeededWeights;
    await writeSafetensors(model, recipesOf(weights), { metadata: { format: "pt" } });
  }
}

function unpackTrained(): void {
  for (const name of readdirSync(TRAINED, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(PACKED)) continue;
    const packed = join(TRAINED, name);
    const model = packed.slice(0, -PACKED.length);
    if (!isNewer(model, packed)) writeFileSync(model, unpack(readFileSync(packed)));
  }
}

function isNewer(file: string, than: string): boolean {
  return existsSync(file) && statSync(file).mtimeMs >= statSync(than).mtimeMs;
}

function recipesOf({ seed, tensors }: SeededWeights): TensorRecipe[] {
  return Object.entries(tensors).map(([name, [dtype, shape, deviation, mean]]) => {
    const row = shape.slice(1).reduce((product, size) => product * size, 1);
    const recipe: TensorRecipe = {
      name,
      dtype: "float32",
      shape,
      sources: [],
      readRows: async (start, end) => {
        const values = seededValues(name, shape, seed, deviation, mean);
        return new Uint8Array(values.buffer, start * row * 4, (end - start) * row * 4);
      },
    };
    return dtype === "F16" ? cast(recipe, "float16") : recipe;
  });
}

export function seededValues(
  name: string,
  shape: readonly number[],
  seed: number,
  deviation: number,
  mean: number,
): Float32Array {
  const key = (fnv1a(name) ^ seed) >>> 0;
  const bell = (i: number): number => {
    const [a, b] = [hash(2 * i, key), hash(2 * i + 1, key)];
    const halves = (a & 0xffff) + (a >>> 16) + ((b & 0xffff) + (b >>> 16));
    return ((halves - 131_070) / 65_536) * Math.sqrt(3);
  };
  const count = shape.reduce((product, size) => product * size, 1);
  return Float32Array.from({ length: count }, (_, i) => bell(i) * deviation + mean);
}

function fnv1a(name: string): number {
  let key = 0x811c9dc5;
  for (const byte of Buffer.from(name)) key = Math.imul(key ^ byte, 0x01000193) >>> 0;
  return key;
}

/** MurmurHash3's finaliser over a counter. */
function hash(counter: number, key: number): number {
  let h = (Math.imul(counter, 0x9e3779b1) + key) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}
