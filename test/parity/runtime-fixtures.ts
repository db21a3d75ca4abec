import { join } from "node:path";
import type { Decoding, Features } from "../../src/runtime/decoder.ts";
import type { PixelValues } from "../../src/runtime/image/preprocess.ts";
import { placeImages } from "../../src/runtime/prompt.ts";
import type { Session } from "../../src/runtime/session.ts";
import { modelDir, type ReferenceTensor, readTensors } from "../support/engine.ts";

/** A batch of test/fixtures/parity with the padding taken off: what a request looks like before the runtime pads it. */
export interface ReferenceBatch {
  readonly prompts: readonly (readonly number[])[];
  readonly pixels: readonly PixelValues[];
  readonly tensor: (name: string) => ReferenceTensor;
}

export async function referenceBatch(model: string, batch: "b1" | "b3"): Promise<ReferenceBatch> {
  const tensors = await readTensors(join(modelDir(`parity/${model}`), "reference.safetensors"));
  const tensor = (name: string): ReferenceTensor => {
    const found = tensors.get(name) ?? tensors.get(`${batch}.${name}`);
    if (found === undefined) throw new Error(`no ${name}`);
    return found;
  };
  const ids = tensor("input_ids");
  const mask = tensor("attention_mask");
  const [rows, seq] = ids.shape as [number, number];
  const prompts = Array.from({ length: rows }, (_, row) =>
    Array.from(ids.data.subarray(row * seq, (row + 1) * seq)).filter((_, i) => mask.data[row * seq + i] === 1),
  );
  const pixels = tensors.has("pixel_values") ? pictures(tensor("pixel_values")).slice(0, rows) : [];
  return { prompts, pixels, tensor };
}

function pictures({ shape, data }: ReferenceTensor): readonly PixelValues[] {
  const [count, , height, width] = shape as [number, number, number, number];
  const size = 3 * height * width;
  return Array.from({ length: count }, (_, i) => ({
    height,
    width,
    data: Float32Array.from(data.subarray(i * size, (i + 1) * size)),
  }));
}

export interface Started {
  /** With image tokens, not prompt-table ids. */
  readonly prompts: readonly (readonly number[])[];
  readonly features: Features | undefined;
  readonly decoding: Decoding;
}

/** Encodes the pictures and runs the prompts. */
export async function start(session: Session, { prompts, pixels }: ReferenceBatch): Promise<Started> {
  const images = pixels.length > 0 ? 1 : 0;
  const placed = placeImages(
    prompts.map(ids => ({ ids, images })),
    session.engine.manifest.model,
    "test",
  );
  const features = pixels.length > 0 ? await session.encodeImages(pixels) : undefined;
  return { prompts, features, decoding: await session.prefill(placed.prompts, features) };
}

export function worstDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < actual.length; i++)
    worst = Math.max(worst, Math.abs((actual[i] as number) - (expected[i] as number)));
  return worst;
}
