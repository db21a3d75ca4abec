import { dirname, resolve } from "node:path";
import { fail, type Problem } from "../diagnostics/index.ts";
import { isJsonObject, parseJson } from "../formats/json.ts";
import { readLines } from "../formats/json-lines.ts";

/** One line of a `--check_accuracy` file. */
export interface AccuracyCase {
  readonly line: number;
  /** Absolute; relative ones are looked up beside the file. */
  readonly images: readonly string[];
  readonly question: string;
  readonly expected: string;
}

export interface WrongAnswer extends AccuracyCase {
  readonly answer: string;
}

export interface AccuracyReport {
  readonly total: number;
  readonly correct: number;
  /** correct / total. */
  readonly accuracy: number;
  readonly wrong: readonly WrongAnswer[];
}

/**
 * Reads JSON Lines of `{image, question, expected}`; `image` may be a list, also as `images`, or absent; `question` may be
 * absent beside an image, for models that take no prompt.
 * @throws MmtrtError RUN014 with every unusable line (CKP008 for one that is not JSON).
 */
export async function readAccuracyFile(file: string): Promise<readonly AccuracyCase[]> {
  return readLines(file, { read: (text, line) => readCase(text, line, file), unusable, nothing: "holds no questions" });
}

function readCase(text: string, line: number, file: string): AccuracyCase {
  const at = `${file}:${line}`;
  const json = parseJson(text, at);
  const { images: several = [], image = several, question: asked, expected } = isJsonObject(json) ? json : {};
  const images = typeof image === "string" ? [image] : image;
  const question = asked === undefined && Array.isArray(images) && images.length > 0 ? "" : asked;
  if (!Array.isArray(images) || typeof question !== "string" || typeof expected !== "string") {
    return fail(unusable(at, "lacks question or expected as strings, or image as a string or list of strings"));
  }
  if (!images.every(name => typeof name === "string")) return fail(unusable(at, "has an image that is not a string"));
  return { line, images: images.map(name => resolve(dirname(file), name as string)), question, expected };
}

/** Answers are equal when they are after trimming and lower-casing, as in TensorRT-LLM's example. */
export function sameAnswer(answer: string, expected: string): boolean {
  return answer.trim().toLowerCase() === expected.trim().toLowerCase();
}

/** Runs all cases in batches of `batchSize`, in the order of the file. */
export async function checkAccuracy(
  cases: readonly AccuracyCase[],
  batchSize: number,
  ask: (batch: readonly AccuracyCase[]) => Promise<readonly string[]>,
  onProgress?: (done: number) => void,
): Promise<AccuracyReport> {
  const wrong: WrongAnswer[] = [];
  for (let first = 0; first < cases.length; first += batchSize) {
    const batch = cases.slice(first, first + batchSize);
    const answers = await ask(batch);
    for (const [i, entry] of batch.entries()) {
      const answer = answers[i] ?? "";
      if (!sameAnswer(answer, entry.expected)) wrong.push({ ...entry, answer });
    }
    onProgress?.(first + batch.length);
  }
  const correct = cases.length - wrong.length;
  return { total: cases.length, correct, accuracy: correct / cases.length, wrong };
}

/** @returns what is wrong when fewer answers were right than asked for. */
export function belowThreshold(report: AccuracyReport, threshold: number | undefined, at: string): Problem | undefined {
  if (threshold === undefined || report.accuracy >= threshold) return undefined;
  return {
    code: "NUM003",
    what: `accuracy is ${report.accuracy.toFixed(4)} (${report.correct} of ${report.total}); expected at least ${threshold}`,
    at,
    why: "the engine answers otherwise than the file says it should",
    fix: "look at the wrong answers above; mmtrt verify names the first stage that differs from the reference",
  };
}

function unusable(at: string, reason: string): Problem {
  return {
    code: "RUN014",
    what: `${at} ${reason}`,
    at,
    why: "each line is one question with the answer that counts as right",
    fix: 'write lines like {"image": "merlion.png", "question": "which city is this?", "expected": "singapore"}',
  };
}
