import type { AdapterPair } from "../../formats/lora/fit.ts";
import { cast, fromStored, type LoraModule, loraRows, loraSizes, type StoredTensor } from "../../tensor/index.ts";

/** One input: all adapters one after the other, the first being zeros. */
export interface Stack {
  readonly values: Float32Array;
  readonly shape: readonly [number, number, number];
}

/** Which share of a module, padded to which rank. */
export interface StackPlace {
  readonly module: LoraModule;
  readonly rank: number;
  /** Tensor-parallel rank `r` of `tp`. */
  readonly tp: number;
  readonly r: number;
}

/** [1 + adapters, rank, in]: rows beyond an adapter's own rank are zero. undefined: the adapter does not change the module. */
export async function stackedA(pairs: readonly (AdapterPair | undefined)[], place: StackPlace): Promise<Stack> {
  const { module, rank, tp, r } = place;
  const width = loraSizes(module, tp).in;
  const first = module.split === "row" ? r * width : 0;
  const values = new Float32Array((1 + pairs.length) * rank * width);
  for (const [i, pair] of pairs.entries()) {
    if (pair === undefined) continue;
    const a = await floatsOf(pair.a);
    for (let row = 0; row < pair.rank; row++) {
      const from = row * module.in + first;
      values.set(a.subarray(from, from + width), ((1 + i) * rank + row) * width);
    }
  }
  return { values, shape: [1 + pairs.length, rank, width] };
}

/** [1 + adapters, out, rank], with each adapter's scaling in it. */
export async function stackedB(pairs: readonly (AdapterPair | undefined)[], place: StackPlace): Promise<Stack> {
  const { module, rank, tp } = place;
  const rows = ownRows(place);
  const out = loraSizes(module, tp).out;
  const values = new Float32Array((1 + pairs.length) * out * rank);
  for (const [i, pair] of pairs.entries()) {
    if (pair === undefined) continue;
    const b = await floatsOf(pair.b);
    for (const [to, from] of rows.entries())
      for (let k = 0; k < pair.rank; k++)
        values[((1 + i) * out + to) * rank + k] = (b[from * pair.rank + k] as number) * pair.scaling;
  }
  return { values, shape: [1 + pairs.length, out, rank] };
}

/** Rows of the stored B that this rank has, in its order. */
function ownRows({ module, tp, r }: StackPlace): readonly number[] {
  const stored = module.rows?.flatMap(([start, end]) => upTo(end - start).map(row => start + row)) ?? upTo(module.out);
  if (module.split === "row") return stored;
  let before = 0;
  return module.parts.flatMap(part => {
    const [start, end] = loraRows(part, r, tp);
    const own = stored.slice(before + start, before + end);
    before += part.rows;
    return own;
  });
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

async function floatsOf(tensor: StoredTensor): Promise<Float32Array> {
  const recipe = cast(fromStored(tensor), "float32");
  const bytes = await recipe.readRows(0, tensor.shape[0] ?? 1);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
