import { existsSync } from "node:fs";
import { arrangesFeatures, type PatchesRule, tokensOf, type VisualTokenRule } from "../../vision/index.ts";
import type { Assistant } from "../assistant.ts";
import { gridsOf, patchPictures } from "../image/patch-values.ts";
import type { PixelValues } from "../image/preprocess.ts";
import type { OrtOptions } from "../ort.ts";
import type { Features } from "../prompt-table.ts";
import type { Reference, ReferenceTensor } from "../reference.ts";
import type { Session } from "../session.ts";
import { openTapped } from "../tapped-graph.ts";
import type { Stages } from "./stages.ts";

/** The picture through the image processor. One step of 255 is what backends of one processor differ by. */
export async function comparePixels(assistant: Assistant, { image }: Reference, stages: Stages): Promise<void> {
  if (stages.get("pixel_values") === undefined) return;
  if (image === undefined || !existsSync(image)) {
    stages.skip("preprocess", image === undefined ? "the reference names no picture" : `${image} is not there`);
    return;
  }
  const { data } = await assistant.image(image);
  stages.floats("preprocess", "pixel_values", data, await assistant.pixelStep());
}

/** The reference's pixels through the image encoder, its parts in the order in which they are computed. */
export async function compareVision(
  assistant: Assistant<Session>,
  ort: OrtOptions,
  stages: Stages,
): Promise<Features | undefined> {
  const pixels = stages.get("pixel_values");
  const { visualPart } = assistant.session.engine;
  if (pixels === undefined || visualPart === undefined) return undefined;
  const graph = await openTapped(visualPart, ort);
  try {
    const { visual_tokens: rule } = assistant.session.engine.manifest.model;
    const pictures = picturesIn(pixels, rule, stages);
    const features = await assistant.session.encodeImages(pictures, graph);
    const unseen = ["vision", "projector"].filter(name => !graph.taps.includes(name) && stages.get(name) !== undefined);
    for (const tap of [...graph.taps, ...unseen]) {
      const swin = /^stages\.(\d+)$/.exec(tap)?.[1];
      const [stage, name] = swin === undefined ? [tap, tap] : [`vision stage ${swin}`, `stage_${swin}`];
      stages.floats(stage, name, graph.firstValue(tap)?.data);
    }
    return features;
  } finally {
    await graph.close();
  }
}

/** One picture, as `checkReference` has seen; a grid that is not its patches' gives a stage of another size. */
function patchesOf(rule: PatchesRule, { data }: ReferenceTensor, stages: Stages): readonly PixelValues[] {
  return patchPictures(rule, Float32Array.from(data), gridsOf([...(stages.get("image_grid_thw")?.data ?? [])]));
}

/** As `checkReference` has seen them. */
function picturesIn(
  pixels: ReferenceTensor,
  rule: VisualTokenRule | undefined,
  stages: Stages,
): readonly PixelValues[] {
  if (rule?.kind === "patches") return patchesOf(rule, pixels, stages);
  if (rule === undefined || !arrangesFeatures(rule)) return picturesOf(pixels);
  const [height = 1, width = 1] = stages.get("image_sizes")?.data ?? [];
  const [, , tileHeight = 1, tileWidth = 1] = pixels.shape;
  const data = Float32Array.from(pixels.data);
  return [{ height: tileHeight, width: tileWidth, data, tokens: tokensOf(rule, { height, width }) }];
}

function picturesOf({ shape, data }: ReferenceTensor): readonly PixelValues[] {
  const [count = 0, , height = 1, width = 1] = shape;
  const size = data.length / Math.max(1, count);
  return Array.from({ length: count }, (_, i) => ({
    height,
    width,
    data: Float32Array.from(data.subarray(i * size, (i + 1) * size)),
  }));
}
