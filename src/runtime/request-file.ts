import { dirname, resolve } from "node:path";
import { fail, type Problem } from "../diagnostics/index.ts";
import { isJsonObject, type Json, parseJson } from "../formats/json.ts";
import { readLines } from "../formats/json-lines.ts";

/** One line of an `--input_file`. */
export interface FileRequest {
  readonly line: number;
  /** A question, or the ids of a whole prompt; empty beside an image for models that take no prompt. */
  readonly prompt: string | readonly number[];
  /** Absolute; relative ones are looked up beside the file. */
  readonly images: readonly string[];
}

/** `images` is what `image` is called where there are several. */
const KEYS: readonly string[] = ["input_text", "input_ids", "image", "images"];

/**
 * Reads JSON Lines of `{input_text, image}` or `{input_ids, image}`; empty lines are skipped.
 * @throws MmtrtError RUN014 with the unusable lines (CKP008 for one that is not JSON).
 */
export async function readRequestFile(file: string): Promise<readonly FileRequest[]> {
  return readLines(file, {
    read: (text, line) => readRequest(text, line, file),
    unusable,
    nothing: "holds no requests",
  });
}

function readRequest(text: string, line: number, file: string): FileRequest {
  const at = `${file}:${line}`;
  const json = parseJson(text, at);
  if (!isJsonObject(json)) return fail(unusable(at, "is not an object"));
  const unknown = Object.keys(json).filter(key => !KEYS.includes(key));
  if (unknown.length > 0) fail(unusable(at, `has ${unknown.join(", ")}; expected ${KEYS.join(", ")}`));
  const { input_text: words, input_ids: ids, images: several = [], image = several } = json;
  const images = typeof image === "string" ? [image] : image;
  if (!Array.isArray(images) || !images.every(name => typeof name === "string"))
    return fail(unusable(at, "has an image that is not a string or list of strings"));
  if (words !== undefined && ids !== undefined) fail(unusable(at, "has both input_text and input_ids"));
  const prompt = promptOf(words, ids, images.length, at);
  return { line, prompt, images: images.map(name => resolve(dirname(file), name as string)) };
}

function promptOf(
  words: Json | undefined,
  ids: Json | undefined,
  images: number,
  at: string,
): string | readonly number[] {
  if (ids !== undefined) {
    if (Array.isArray(ids) && ids.length > 0 && ids.every(id => Number.isSafeInteger(id)))
      return ids as readonly number[];
    return fail(unusable(at, "has input_ids that are not a list of whole numbers"));
  }
  if (typeof words === "string") return words;
  if (words === undefined && images > 0) return "";
  return fail(unusable(at, words === undefined ? "has no input_text" : "has an input_text that is not a string"));
}

function unusable(at: string, reason: string): Problem {
  return {
    code: "RUN014",
    what: `${at} ${reason}`,
    at,
    why: "each line is one request with its prompt and its pictures",
    fix: 'write lines like {"input_text": "which city is this?", "image": "merlion.png"}',
  };
}
