import type { EngineModel } from "../../formats/engine-config.ts";
import type { PixelValues } from "../../runtime/image/preprocess.ts";
import type { PromptWriter } from "../../runtime/prompt.ts";

type Prompt = string | readonly number[];

/**
 * How many images each prompt asks for, asked in the prompts' order. Ids may hold a placeholder for each image, or, as a
 * Hugging Face processor makes them, for each of its features.
 */
export function placeholderCounter(
  model: EngineModel,
  writer: PromptWriter | undefined,
  images: readonly PixelValues[],
): (prompt: Prompt) => number {
  const features = images.map(({ tokens }) => tokens?.features ?? model.num_visual_features);
  let next = 0;
  return prompt => {
    if (typeof prompt === "string") return writer?.placeholders(prompt) ?? 0;
    const found = prompt.filter(id => id === model.image_token_id).length;
    // One image may serve every prompt.
    const first = images.length === 1 ? 0 : next;
    const taken = imagesOf(found, features.slice(first));
    next += taken ?? found;
    return taken ?? found;
  };
}

/** The first images whose features are just so many together. */
function imagesOf(found: number, features: readonly number[]): number | undefined {
  let sum = 0;
  for (const [i, count] of features.entries()) {
    if (sum === found) return i;
    sum += count;
  }
  return sum === found ? features.length : undefined;
}
