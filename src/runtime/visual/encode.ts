import { fail } from "../../diagnostics/index.ts";
import type { VisualEngineConfig } from "../../formats/engine-config.ts";
import { type PixelValues, tilesIn } from "../image/preprocess.ts";
import { fromFloat32, type OrtGraph, toFloat32 } from "../ort.ts";
import type { Features } from "../prompt-table.ts";

/**
 * Features of images in order, their tiles one after the other, run in as many batches as the visual engine's profile asks for.
 * @throws MmtrtError RUN010 when a picture's size is not the engine's.
 */
export async function encodeImages(
  graph: OrtGraph,
  config: VisualEngineConfig,
  images: readonly PixelValues[],
): Promise<Features> {
  const tiles = images.flatMap(image => tilesOf(image, config));
  const batch = Math.max(1, config.profiles[0]?.shapes.input?.max[0] ?? 1);
  const chunks: Float32Array[] = [];
  for (let first = 0; first < tiles.length; first += batch) {
    chunks.push(await encodeBatch(graph, config, tiles.slice(first, first + batch)));
  }
  const values = chunks.length === 1 ? (chunks[0] as Float32Array) : concatenate(chunks);
  const perTile = config.num_visual_features;
  const rows = tiles.length * perTile;
  const features = { rows, hidden: rows === 0 ? 0 : values.length / rows, values };
  if (images.every(({ tokens }) => tokens === undefined)) return features;
  return { ...features, imageRows: images.map(image => tilesIn(image) * perTile) };
}

/** Pixels of each tile: a picture that is not cut is one. */
export function tilesOf(image: PixelValues, config: VisualEngineConfig): readonly Float32Array[] {
  const [channels, height, width] = config.image_shape;
  if (image.height !== height || image.width !== width) wrongSize(image, config);
  const size = channels * height * width;
  return Array.from({ length: tilesIn(image) }, (_, i) => image.data.subarray(i * size, (i + 1) * size));
}

async function encodeBatch(
  graph: OrtGraph,
  config: VisualEngineConfig,
  tiles: readonly Float32Array[],
): Promise<Float32Array> {
  const [channels, height, width] = config.image_shape;
  const pixels = new Float32Array(tiles.length * channels * height * width);
  for (const [i, tile] of tiles.entries()) pixels.set(tile, i * channels * height * width);
  const dtype = config.io.find(value => value.name === "input")?.dtype ?? "float32";
  const input = fromFloat32(graph, dtype, pixels, [tiles.length, channels, height, width]);
  const { output } = await graph.run({ input });
  return toFloat32(output as NonNullable<typeof output>);
}

function concatenate(chunks: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
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
