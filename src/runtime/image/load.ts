import { existsSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { FilePool } from "../../formats/file.ts";
import { isJsonObject, readJsonObject } from "../../formats/json.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import type { StoredTensor } from "../../tensor/index.ts";
import {
  type ImageSize,
  type ImageTokens,
  patchesOf,
  sizeProblem,
  tokensBeside,
  tokensOf,
  type VisualTokenRule,
} from "../../vision/index.ts";
import { decodeImage } from "./decode.ts";
import { patchSize, readPatchValues } from "./patch-values.ts";
import { type PixelValues, preprocess, tilesIn } from "./preprocess.ts";
import { type ImageProcessorConfig, readImageProcessor } from "./processor-config.ts";

/**
 * The image processor saved with the model: nested in processor_config.json since transformers 5, else
 * preprocessor_config.json.
 * @throws MmtrtError RUN017 there is none; RUN003, RUN004 it cannot be used.
 */
export async function openImageProcessor(dir: string): Promise<ImageProcessorConfig> {
  const nested = join(dir, "processor_config.json");
  if (existsSync(nested)) {
    const { image_processor: json } = await readJsonObject(nested);
    if (isJsonObject(json)) return readImageProcessor(json, nested);
  }
  const file = join(dir, "preprocessor_config.json");
  if (existsSync(file)) return readImageProcessor(await readJsonObject(file), file);
  return fail({
    code: "RUN017",
    what: `${dir} has neither preprocessor_config.json nor an image processor in processor_config.json`,
    at: file,
    why: "the model was converted without them, and how to resize, crop and normalize is not guessed",
    fix: "copy the model's processor files there, or give preprocessed pixels with --pixel_values FILE",
  });
}

/**
 * A picture as the visual engine takes it; `rule` tells what it brings, where pictures differ, alone in its prompt or not.
 * @throws MmtrtError RUN001, RUN002 for the file; RUN017 when the processor makes other tiles than the engine was built for.
 */
export async function loadImage(
  file: string,
  config: ImageProcessorConfig,
  rule?: VisualTokenRule,
  isOneOfSeveral = false,
): Promise<PixelValues> {
  const image = await decodeImage(file);
  const refused = rule && sizeProblem(rule, image);
  if (refused !== undefined) refusedSize(file, image, refused);
  const pixels = preprocess(image, config, isOneOfSeveral);
  if (rule === undefined) return pixels;
  const tokens = (isOneOfSeveral ? tokensBeside(rule) : undefined) ?? tokensOf(rule, image);
  const [made, planned] = [partsIn(pixels), partsPlanned(rule, tokens)];
  if (made !== planned) otherProcessor(file, made, planned);
  return { ...pixels, tokens };
}

function partsIn(pixels: PixelValues): string {
  const { patches, data } = pixels;
  if (patches === undefined) return `${tilesIn(pixels)} tiles`;
  return `${patches.rows} × ${patches.cols} patches of ${data.length / patchesOf(patches)} numbers`;
}

function partsPlanned(rule: VisualTokenRule, { tiles, grid }: ImageTokens): string {
  return rule.kind === "patches"
    ? `${grid.rows} × ${grid.cols} patches of ${patchSize(rule)} numbers`
    : `${tiles} tiles`;
}

function refusedSize(file: string, { height, width }: ImageSize, reason: string): never {
  return fail({
    code: "RUN002",
    what: `${file} is ${width} × ${height}: ${reason}`,
    at: file,
    why: "the model's image processor refuses longer pictures, which it was not trained with",
    fix: "cut the picture into shorter ones",
  });
}

function otherProcessor(file: string, made: string, planned: string): never {
  return fail({
    code: "RUN017",
    what: `the image processor makes ${made} of ${file}; the engine was built for ${planned}`,
    at: "tokenizer/preprocessor_config.json",
    why: "how images are cut was read from that file when the model was converted, and it says something else now",
    fix: "convert and build again, or put the checkpoint's own file back",
  });
}

/**
 * Preprocessed pictures from a safetensors file: `pixel_values`, float32 [images, 3, height, width]. Of a model that cuts images
 * up [tiles, 3, height, width], and `image_sizes`, int32 [images, 2], the height and width that each had; of one that packs patches
 * those of `readPatchValues`.
 * @throws MmtrtError RUN018 when a tensor is missing or does not fit; CKP… for the file.
 */
export async function readPixelValues(file: string, rule?: VisualTokenRule): Promise<readonly PixelValues[]> {
  const pool = new FilePool();
  try {
    const { tensors } = await openSafetensors(pool, file);
    if (rule?.kind === "patches") return await readPatchValues(file, rule, tensors);
    const stored = tensors.get("pixel_values");
    const [count, channels, height, width] = stored?.shape ?? [];
    const fits = stored?.shape.length === 4 && stored.dtype === "float32" && channels === 3;
    if (stored === undefined || !fits || !count || !height || !width) return notPixels(file, stored);
    const images = rule && (await imagesOf(file, rule, tensors, count));
    const bytes = await stored.readRows(0, count);
    const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const size = 3 * height * width;
    let start = 0;
    return (images ?? new Array<undefined>(count).fill(undefined)).map(tokens => {
      const first = start;
      start += (tokens?.tiles ?? 1) * size;
      return { height, width, data: all.subarray(first, start), ...(tokens && { tokens }) };
    });
  } finally {
    await pool.close();
  }
}

/** What each image brings by the size that it had, where its tiles are as many as the file has. */
async function imagesOf(
  file: string,
  rule: VisualTokenRule,
  tensors: ReadonlyMap<string, StoredTensor>,
  tiles: number,
): Promise<readonly ImageTokens[]> {
  const sizes = tensors.get("image_sizes");
  const [count = 0, pair] = sizes?.shape ?? [];
  if (sizes === undefined || sizes.dtype !== "int32" || pair !== 2 || count > tiles)
    return notSizes(file, `image_sizes in ${file} is ${shown(sizes)}; expected int32 [images, 2]`);
  const { buffer, byteOffset, byteLength } = await sizes.readRows(0, count);
  const edges = new Int32Array(buffer, byteOffset, byteLength / 4);
  const small = edges.find(edge => edge < 1 || edge > MAX_EDGE);
  if (small !== undefined) return notSizes(file, `image_sizes in ${file} holds ${small}; expected 1 to ${MAX_EDGE}`);
  const together = await imagesPerPrompt(file, tensors.get("batch_num_images"), count);
  const images = Array.from(
    { length: count },
    (_, i) =>
      ((together[i] ?? 1) > 1 ? tokensBeside(rule) : undefined) ??
      tokensOf(rule, { height: edges[2 * i] as number, width: edges[2 * i + 1] as number }),
  );
  const expected = images.reduce((sum, image) => sum + image.tiles, 0);
  if (expected === tiles) return images;
  return notSizes(file, `pixel_values in ${file} has ${tiles} tiles; images of these sizes have ${expected}`);
}

/** How many images the prompt of each one has, where the file tells; the processor of LLaVA-OneVision does. */
async function imagesPerPrompt(
  file: string,
  stored: StoredTensor | undefined,
  images: number,
): Promise<readonly number[]> {
  if (stored === undefined) return [];
  const [prompts = 0] = stored.shape;
  if (stored.dtype !== "int32" || stored.shape.length !== 1 || prompts > images)
    return notSizes(file, `batch_num_images in ${file} is ${shown(stored)}; expected int32 [prompts]`);
  const { buffer, byteOffset, byteLength } = await stored.readRows(0, prompts);
  const counts = [...new Int32Array(buffer, byteOffset, byteLength / 4)];
  if (counts.some(count => count < 0) || counts.reduce((sum, count) => sum + count, 0) !== images)
    return notSizes(file, `batch_num_images in ${file} does not add up to ${images} images`);
  return counts.flatMap(count => new Array<number>(count).fill(count));
}

/** Pixels; what a picture file can state. */
const MAX_EDGE = 65_535;

function notSizes(file: string, what: string): never {
  return fail({
    code: "RUN018",
    what,
    at: file,
    why: "how an image was cut, and what stands about its tiles in the prompt, follow from its size",
    fix: 'save_file({"pixel_values": tiles, "image_sizes": torch.tensor([[height, width], …], dtype=torch.int32)}, FILE)',
  });
}

function shown(stored: { readonly dtype: string; readonly shape: readonly number[] } | undefined): string {
  return stored === undefined ? "missing" : `${stored.dtype} [${stored.shape.join(", ")}]`;
}

function notPixels(
  file: string,
  stored: { readonly dtype: string; readonly shape: readonly number[] } | undefined,
): never {
  return fail({
    code: "RUN018",
    what: `pixel_values in ${file} is ${shown(stored)}; expected float32 [images, 3, height, width]`,
    at: file,
    why: "the vision encoder takes pictures as its image processor leaves them",
    fix: 'save_file({"pixel_values": processor(images=…, return_tensors="pt").pixel_values}, FILE)',
  });
}
