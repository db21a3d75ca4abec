import { existsSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";
import { FilePool } from "../../formats/file.ts";
import { isJsonObject, readJsonObject } from "../../formats/json.ts";
import { openSafetensors } from "../../formats/safetensors.ts";
import { decodeImage } from "./decode.ts";
import { type PixelValues, preprocess } from "./preprocess.ts";
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

export async function loadImage(file: string, config: ImageProcessorConfig): Promise<PixelValues> {
  return preprocess(await decodeImage(file), config);
}

/**
 * Preprocessed pictures from a safetensors file: `pixel_values`, float32 [images, 3, height, width].
 * @throws MmtrtError RUN018 when the tensor is missing or of another type or rank; CKP… for the file.
 */
export async function readPixelValues(file: string): Promise<readonly PixelValues[]> {
  const pool = new FilePool();
  try {
    const { tensors } = await openSafetensors(pool, file);
    const stored = tensors.get("pixel_values");
    const [count, channels, height, width] = stored?.shape ?? [];
    const fits = stored?.shape.length === 4 && stored.dtype === "float32" && channels === 3;
    if (stored === undefined || !fits || !count || !height || !width) return notPixels(file, stored);
    const bytes = await stored.readRows(0, count);
    const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const size = 3 * height * width;
    return Array.from({ length: count }, (_, i) => ({ height, width, data: all.subarray(i * size, (i + 1) * size) }));
  } finally {
    await pool.close();
  }
}

function notPixels(
  file: string,
  stored: { readonly dtype: string; readonly shape: readonly number[] } | undefined,
): never {
  return fail({
    code: "RUN018",
    what: `pixel_values in ${file} is ${stored === undefined ? "missing" : `${stored.dtype} [${stored.shape.join(", ")}]`}; expected float32 [images, 3, height, width]`,
    at: file,
    why: "the vision encoder takes pictures as its image processor leaves them",
    fix: 'save_file({"pixel_values": processor(images=…, return_tensors="pt").pixel_values}, FILE)',
  });
}
