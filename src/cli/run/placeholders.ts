import type { EngineModel } from "../../formats/engine-config.ts";
import type { PixelValues } from "../../runtime/image/preprocess.ts";
import type { PromptWriter } from "../../runtime/prompt.ts";
import { tokensBeside } from "../../vision/index.ts";

type Prompt = string | readonly number[];

/**
 * How many images each prompt asks for, asked in the prompts' order. Ids may hold a placeholder for each image, or, as a
 * Hugging Face processor makes them, for each of its features. `fromFiles`: images are given as if each were alone in its prompt.
 */
export function placeholderCounter(
  model: EngineModel,
  writer: PromptWriter | undefined,
  images: readonly PixelValues[],
  fromFiles: boolean,
): (prompt: Prompt) => number {
  const features = images.map(({ tokens }) => tokens?.features ?? model.num_visual_features);
  const { visual_tokens: rule } = model;
  const beside = fromFiles && rule !== undefined ? tokensBeside(rule)?.features : undefined;
  let next = 0;
  return prompt => {
    if (typeof prompt === "string") return writer?.placeholders(prompt) ?? 0;
    const found = prompt.filter(id => id === model.image_token_id).length;
    // One image may serve every prompt.
    const first = images.length === 1 ? 0 : next;
    const taken = imagesOf(found, features.slice(first), beside);
    next += taken ?? found;
    return taken ?? found;
  };
}

/** The first images whose features are just so many together; each of several has `beside` where that is given. */
function imagesOf(found: number, features: readonly number[], beside: number | undefined): number | undefined {
  let sum = 0;
  for (const [i, count] of features.entries()) {
    if (sum === found) return i;
    sum = beside === undefined || i === 0 ? sum + count : (i + 1) * beside;
  }
  return sum === found ? features.length : undefined;
}
