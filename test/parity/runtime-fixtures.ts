import { fileURLToPath } from "node:url";
import type { Decoding } from "../../src/runtime/decoding.ts";
import type { PixelValues } from "../../src/runtime/image/preprocess.ts";
import { placeImages } from "../../src/runtime/prompt.ts";
import type { Features } from "../../src/runtime/prompt-table.ts";
import type { Session } from "../../src/runtime/session.ts";
import { type ReferenceTensor, readReference } from "../support/reference.ts";

/** A directory of test/fixtures. */
export function fixtureDir(name: string): string {
  return fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
}

/** A batch of test/fixtures/parity with the padding taken off: what a request looks like before the runtime pads it. */
export interface ReferenceBatch {
  readonly prompts: readonly (readonly number[])[];
  readonly pixels: readonly PixelValues[];
  readonly tensor: (name: string) => ReferenceTensor;
}

export async function referenceBatch(model: string, batch: "b1" | "b3"): Promise<ReferenceBatch> {
  const tensors = await readReference(fixtureDir(`parity/${model}/reference.safetensors`));
  const tensor = (name: string): ReferenceTensor => {
    const found = tensors.get(name) ?? tensors.get(`${batch}.${name}`);
    if (found === undefined) throw new Error(`no ${name}`);
    return found;
  };
  const ids = tensor("input_ids");
  const mask = tensor("attention_mask");
  const [rows, seq] = ids.shape as [number, number];
  const prompts = Array.from({ length: rows }, (_, row) =>
    Array.from(ids.values.subarray(row * seq, (row + 1) * seq)).filter((_, i) => mask.values[row * seq + i] === 1),
  );
  const pixels = tensors.has("pixel_values") ? pictures(tensor("pixel_values")).slice(0, rows) : [];
  return { prompts, pixels, tensor };
}

function pictures({ shape, values }: ReferenceTensor): readonly PixelValues[] {
  const [count, , height, width] = shape as [number, number, number, number];
  const size = 3 * height * width;
  return Array.from({ length: count }, (_, i) => ({
    height,
    width,
    data: Float32Array.from(values.subarray(i * size, (i + 1) * size)),
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
