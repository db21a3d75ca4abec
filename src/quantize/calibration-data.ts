import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, extname, join, resolve } from "node:path";
import { fail, type Problem } from "../diagnostics/index.ts";
import { isJsonObject, type Json, parseJson } from "../formats/json.ts";
import { readLines } from "../formats/json-lines.ts";
import { packageRoot } from "../formats/package-root.ts";
import type { Assistant } from "../runtime/assistant.ts";
import type { PixelValues } from "../runtime/image/preprocess.ts";

/** One text to measure on, not yet in tokens. */
export interface CalibrationItem {
  /** Paths of pictures that come with it. */
  readonly images: readonly string[];
  /** Without pictures the text itself, with them the question about them. */
  readonly text: string;
  /** What follows the question. */
  readonly answer: string;
  /** Token ids, instead of everything above. */
  readonly ids?: readonly number[];
}

/** Ready for the model: placeholders of images are single ids, but for models with markers about their features. */
export interface CalibrationSample {
  readonly ids: readonly number[];
  readonly pixels: readonly PixelValues[];
}

export interface CalibrationSet {
  readonly items: readonly CalibrationItem[];
  /** SHA-256 of file and size: another set gives other ranges. */
  readonly key: string;
}

/** As TensorRT-LLM's converters. */
const DEFAULT_SIZE = 512;
export const MAX_TOKENS = 512;

/** Texts that ship with mmtrt. */
export function defaultTexts(): string {
  return join(packageRoot(), "configs", "calibration", "prose.txt");
}

/**
 * The first `size` samples of a file. Each line of .json and .jsonl is a text, a list of token ids, or an object with
 * text, input_ids, or image(s), question and expected (as in accuracy files); each line of any other file is a text.
 * Errors: CKP087 with every line that cannot be used.
 */
export async function readCalibrationSet(file: string | undefined, size = DEFAULT_SIZE): Promise<CalibrationSet> {
  const path = file ?? defaultTexts();
  const isJson = [".json", ".jsonl", ".ndjson"].includes(extname(path).toLowerCase());
  const read = (line: string, _: number, at: string): readonly CalibrationItem[] =>
    isJson ? itemsOf(parseJson(line, at), path, at) : [textItem(line.replace(/\r$/, ""))];
  // A line may hold several samples; none holds less than one.
  const lines = await readLines(path, { read, unusable, nothing: "holds no texts", most: size });
  const key = createHash("sha256")
    .update(await readFile(path, "utf8"))
    .update(`\n${size}`)
    .digest("hex");
  return { items: lines.flat().slice(0, size), key };
}

function textItem(text: string): CalibrationItem {
  return { images: [], text, answer: "" };
}

function itemsOf(json: Json, file: string, at: string): CalibrationItem[] {
  if (typeof json === "string") return [textItem(json)];
  if (Array.isArray(json)) {
    if (json.every(Array.isArray)) return json.flatMap(ids => itemsOf(ids, file, at));
    return [idsItem(json, at)];
  }
  if (!isJsonObject(json)) return fail(unusable(at, "is no text, list of token ids or object"));
  const { input_ids: ids, text, image, images = image === undefined ? [] : [image], question = text } = json;
  if (Array.isArray(ids)) return [idsItem(ids, at)];
  const { expected = "", answer = expected } = json;
  const usable = Array.isArray(images) && images.every(name => typeof name === "string");
  if (!usable || typeof question !== "string" || typeof answer !== "string")
    return fail(unusable(at, "has neither text nor input_ids nor image and question as strings"));
  return [{ images: (images as string[]).map(name => resolve(dirname(file), name)), text: question, answer }];
}

function idsItem(ids: readonly Json[], at: string): CalibrationItem {
  const valid = ids.length > 0 && ids.every(id => Number.isSafeInteger(id) && (id as number) >= 0);
  if (!valid) fail(unusable(at, "is a list of something else than token ids"));
  return { ...textItem(""), ids: ids as number[] };
}

/** Tokens and pixels as the model takes them; no more than `maxTokens` ids, features of images not counted. */
export async function sampleOf(
  assistant: Assistant,
  { ids, images, text, answer }: CalibrationItem,
  maxTokens: number,
): Promise<CalibrationSample> {
  if (ids !== undefined) return { ids: ids.slice(0, maxTokens), pixels: [] };
  if (images.length === 0) {
    const tokenizer = await assistant.tokenizer();
    return { ids: tokenizer.encode(text, { addSpecialTokens: true }).slice(0, maxTokens), pixels: [] };
  }
  const { ids: prompt, pixels } = await assistant.question(text, images, "auto");
  const tokenizer = await assistant.tokenizer();
  const rest = answer === "" ? [] : tokenizer.encode(` ${answer}`, { addSpecialTokens: false });
  const features = pixels.reduce((sum, { tokens }) => sum + (tokens?.features ?? 0), 0);
  return { ids: [...prompt, ...rest].slice(0, maxTokens + features), pixels };
}

function unusable(at: string, reason: string): Problem {
  return {
    code: "CKP087",
    what: `${at} ${reason}`,
    at,
    why: "activations are measured while the model reads these texts",
    fix: 'give one text a line, or lines like {"text": "…"} and {"image": "a.png", "question": "…", "expected": "…"}',
  };
}
