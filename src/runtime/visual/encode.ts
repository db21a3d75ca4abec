import { fail } from "../../diagnostics/index.ts";
import type { VisualEngineConfig } from "../../formats/engine-config.ts";
import type { VisualTokenRule } from "../../vision/index.ts";
import { type PixelValues, tilesIn } from "../image/preprocess.ts";
import { fromFloat32, type OrtGraph, toFloat32 } from "../ort.ts";
import { concatenate, type Features } from "../prompt-table.ts";
import { arrangeFeatures } from "./arrange.ts";

/** Another process with the same visual engine. One batch at a time: `start`, then `features`. */
export interface OtherEncoder {
  start(tiles: readonly Float32Array[]): Promise<void>;
  features(): Promise<Float32Array>;
}

/** Most tiles of one run. */
export function visualBatch({ profiles }: VisualEngineConfig): number {
  return Math.max(1, profiles[0]?.shapes.input?.max[0] ?? 1);
}

/**
 * Features of images in order, their tiles one after the other, run in as many batches as the visual engine's profile asks
 * for, and put in the order of `rule`. With `others` each process runs an even share of the tiles, all of them at the same time.
 * @throws MmtrtError RUN010 when a picture's size is not the engine's; RUN042, RUN043 of other processes.
 */
export async function encodeImages(
  graph: OrtGraph,
  config: VisualEngineConfig,
  images: readonly PixelValues[],
  {
    others = [],
    rule,
  }: { readonly others?: readonly OtherEncoder[]; readonly rule?: VisualTokenRule | undefined } = {},
): Promise<Features> {
  const tiles = images.flatMap(image => tilesOf(image, config));
  const [own = [], ...theirs] = sharesOf(tiles, others.length + 1).map(share => batchesOf(share, visualBatch(config)));
  const chunks: Float32Array[][] = [[], ...others.map(() => [])];
  let newline: Float32Array | undefined;
  // The first share is the largest, so there is a batch of its own in every round.
  for (const [round, batch] of own.entries()) {
    const busy = others.map((other, i) => ({ other, i, batch: theirs[i]?.[round] }));
    // On their way before this process computes, which would hold them up.
    await Promise.all(busy.map(({ other, batch }) => batch && other.start(batch)));
    const encoded = await encodeBatch(graph, config, batch);
    chunks[0]?.push(encoded.features);
    newline = encoded.newline;
    const found = await Promise.all(busy.map(({ other, batch }) => batch && other.features()));
    for (const [i, values] of found.entries()) if (values !== undefined) chunks[i + 1]?.push(values);
  }
  const all = chunks.flat();
  const values = all.length === 1 ? (all[0] as Float32Array) : concatenate(all);
  const perTile = config.num_visual_features;
  const rows = tiles.length * perTile;
  const features = { rows, hidden: rows === 0 ? 0 : values.length / rows, values };
  if (images.every(({ tokens }) => tokens === undefined)) return features;
  const imageRows = images.map(image => tilesIn(image) * perTile);
  return arrangeFeatures(rule, images, { features: { ...features, imageRows }, newline, perTile });
}

/** Neighbours stay together; shares differ by one at most, the larger ones first. */
export function sharesOf<T>(items: readonly T[], count: number): readonly (readonly T[])[] {
  const [each, more] = [Math.floor(items.length / count), items.length % count];
  const start = (i: number): number => i * each + Math.min(i, more);
  return Array.from({ length: count }, (_, i) => items.slice(start(i), start(i + 1)));
}

function batchesOf<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** Pixels of each tile: a picture that is not cut is one. */
export function tilesOf(image: PixelValues, config: VisualEngineConfig): readonly Float32Array[] {
  const [channels, height, width] = config.image_shape;
  if (image.height !== height || image.width !== width) wrongSize(image, config);
  const size = channels * height * width;
  return Array.from({ length: tilesIn(image) }, (_, i) => image.data.subarray(i * size, (i + 1) * size));
}

/** Of one batch: features, tiles × num_visual_features × hidden, and the embedding of a newline where the engine has it. */
export async function encodeBatch(
  graph: OrtGraph,
  config: VisualEngineConfig,
  tiles: readonly Float32Array[],
): Promise<{ readonly features: Float32Array; readonly newline: Float32Array | undefined }> {
  const [channels, height, width] = config.image_shape;
  const pixels = new Float32Array(tiles.length * channels * height * width);
  for (const [i, tile] of tiles.entries()) pixels.set(tile, i * channels * height * width);
  const dtype = config.io.find(value => value.name === "input")?.dtype ?? "float32";
  const input = fromFloat32(graph, dtype, pixels, [tiles.length, channels, height, width]);
  const { output, image_newline: newline } = await graph.run({ input });
  return { features: toFloat32(output as NonNullable<typeof output>), newline: newline && toFloat32(newline) };
}

function wrongSize(image: PixelValues, config: VisualEngineConfig): never {
  const [, height, width] = config.image_shape;
  return fail({
    code: "RUN010",
    what: `a preprocessed picture has ${image.height} × ${image.width} pixels; the visual engine takes ${height} × ${width}`,
    at: "tokenizer/preprocessor_config.json",
    why: "the vision encoder's position table has one entry a patch",
    fix: "use the image processor of the checkpoint that the engine was built from, or its --pixel_values",
  });
}
