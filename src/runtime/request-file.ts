import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fail, MmtrtError, type Problem, throwIfAny } from "../diagnostics/index.ts";
import { isJsonObject, type Json, parseJson } from "../formats/json.ts";

/** One line of an `--input_file`. */
export interface FileRequest {
  readonly line: number;
  /** A question, or the ids of a whole prompt; empty beside an image for models that take no prompt. */
  readonly prompt: string | readonly number[];
  /** Absolute; relative ones are looked up beside the file. */
  readonly images: readonly string[];
}

/** A prompt of a million characters is a line; 256 MB hold hundreds of them. */
const MAX_BYTES = 256 << 20;

/** `images` is what `image` is called where there are several. */
const KEYS: readonly string[] = ["input_text", "input_ids", "image", "images"];

/**
 * Reads JSON Lines of `{input_text, image}` or `{input_ids, image}`; empty lines are skipped.
 * @throws MmtrtError RUN014 with every unusable line (CKP008 for one that is not JSON).
 */
export async function readRequestFile(file: string): Promise<readonly FileRequest[]> {
  const info = await stat(file).catch(() => undefined);
  if (info === undefined || !info.isFile() || info.size > MAX_BYTES) {
    return fail(unusable(file, info === undefined ? "cannot be read" : `is not a file of at most ${MAX_BYTES} bytes`));
  }
  const problems: Problem[] = [];
  const requests: FileRequest[] = [];
  for (const [index, text] of (await readFile(file, "utf8")).split("\n").entries()) {
    if (text.trim() === "") continue;
    try {
      requests.push(readRequest(text, index + 1, file));
    } catch (error) {
      if (!(error instanceof MmtrtError)) throw error;
      problems.push(...error.problems);
    }
  }
  throwIfAny(problems);
  if (requests.length === 0) fail(unusable(file, "holds no requests"));
  return requests;
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
