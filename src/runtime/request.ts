import { fail } from "../diagnostics/index.ts";
import { type Json, readJson } from "../formats/json.ts";

/** One prompt of a batch with its pictures, by index into the request's images. */
export interface RequestItem {
  /** A question, or the ids of a whole prompt. */
  readonly prompt: string | readonly number[];
  readonly images: readonly number[];
}

export interface RequestInput {
  readonly prompts: readonly (string | readonly number[])[];
  readonly imageCount: number;
  /** Images that a prompt asks for itself, by placeholders in its text. */
  placeholders(prompt: string | readonly number[]): number;
  /** All pictures belong to a single prompt that places none of them, instead of one to each copy of it. */
  readonly together?: boolean;
}

/**
 * Gives each prompt its images. Prompts with placeholders take as many as they have, in order, and the others none.
 * Without any placeholder each prompt takes one; a single image serves every prompt and a single prompt every image,
 * or all of them at once (`together`).
 * @throws MmtrtError RUN012 when the numbers do not fit; RUN016 without a prompt.
 */
export function pairUp({ prompts, imageCount, placeholders, together = false }: RequestInput): readonly RequestItem[] {
  if (prompts.length === 0) nothingAsked();
  const asked = prompts.map(placeholders);
  const total = asked.reduce((sum, count) => sum + count, 0);
  if (total > 0 && total !== imageCount && !(imageCount === 1 && asked.every(count => count <= 1))) {
    mismatch(`${prompts.length} prompts with ${total} image placeholders`, imageCount);
  }
  if (total > 0) {
    let next = 0;
    const only = total !== imageCount;
    return prompts.map((prompt, i) => ({
      prompt,
      images: Array.from({ length: asked[i] as number }, () => (only ? 0 : next++)),
    }));
  }
  if (imageCount === 0) return prompts.map(prompt => ({ prompt, images: [] }));
  const [only] = prompts;
  if (together && prompts.length === 1 && only !== undefined)
    return [{ prompt: only, images: Array.from({ length: imageCount }, (_, i) => i) }];
  const count = Math.max(prompts.length, imageCount);
  const fits = (length: number): boolean => length === 1 || length === count;
  if (!fits(prompts.length) || !fits(imageCount)) mismatch(`${prompts.length} prompts`, imageCount);
  return Array.from({ length: count }, (_, i) => ({
    prompt: prompts[prompts.length === 1 ? 0 : i] as string | readonly number[],
    images: [imageCount === 1 ? 0 : i],
  }));
}

/** `--input_ids`: a list of lists of token ids, or one list. */
export async function readInputIds(file: string): Promise<readonly (readonly number[])[]> {
  const json = await readJson(file);
  const lists = isIds(json) ? [json] : json;
  if (Array.isArray(lists) && lists.length > 0 && lists.every(isIds)) return lists as readonly (readonly number[])[];
  return fail({
    code: "RUN014",
    what: `${file} is not a list of lists of token ids`,
    at: file,
    why: "one list of whole numbers stands for one prompt",
    fix: "write it as [[1, 529, 32000, 13], [1, 306]]",
  });
}

function isIds(json: Json): boolean {
  return Array.isArray(json) && json.length > 0 && json.every(id => Number.isSafeInteger(id));
}

function mismatch(prompts: string, images: number): never {
  return fail({
    code: "RUN012",
    what: `${prompts} and ${images} images; expected as many of both, or one of either`,
    at: "--image, --input_text",
    why: "each prompt of a batch is about its own images",
    fix: "repeat --image or --input_text, or place images in the text with the image placeholder",
  });
}

function nothingAsked(): never {
  return fail({
    code: "RUN016",
    what: "there is no prompt to answer",
    at: "--input_text",
    why: "a model continues a prompt, also when the prompt is only an instruction about the image",
    fix: '--input_text "Question: which city is this? Answer:"',
  });
}
