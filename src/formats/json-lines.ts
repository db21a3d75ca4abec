import { readFile, stat } from "node:fs/promises";
import { fail, MmtrtError, type Problem, throwIfAny } from "../diagnostics/index.ts";

export interface LineReader<T> {
  /** What a line means; throws MmtrtError for one that means nothing. `at` is `file:line`. */
  read(text: string, line: number, at: string): T;
  /** The problem of a file, or of a line of it, that cannot be used. */
  unusable(at: string, reason: string): Problem;
  /** What is missing in a file without a line to read. */
  readonly nothing: string;
  /** Lines to stop after. */
  readonly most?: number;
}

/** A line is a prompt with the names of its pictures: 64 MB hold a hundred thousand. Text and values take 4 times as much. */
const MAX_BYTES = 64 << 20;
/** A file of another kind would give one for each of its lines. */
const MAX_PROBLEMS = 20;

/** What each line of a file means; empty lines are skipped. Errors: those of `read` and `unusable`, of all lines at once. */
export async function readLines<T>(file: string, reader: LineReader<T>): Promise<readonly T[]> {
  const text = await textOf(file, reader);
  const found: T[] = [];
  const problems: Problem[] = [];
  let start = 0;
  for (let line = 1; start < text.length && problems.length < MAX_PROBLEMS; line++) {
    if (found.length >= (reader.most ?? Number.POSITIVE_INFINITY)) break;
    const end = text.indexOf("\n", start);
    const own = text.slice(start, end < 0 ? text.length : end);
    start = end < 0 ? text.length : end + 1;
    if (own.trim() === "") continue;
    try {
      found.push(reader.read(own, line, `${file}:${line}`));
    } catch (error) {
      if (!(error instanceof MmtrtError)) throw error;
      problems.push(...error.problems);
    }
  }
  throwIfAny(problems);
  if (found.length === 0) fail(reader.unusable(file, reader.nothing));
  return found;
}

async function textOf(file: string, { unusable }: Pick<LineReader<unknown>, "unusable">): Promise<string> {
  const info = await stat(file).catch(() => undefined);
  if (info === undefined) return fail(unusable(file, "cannot be read"));
  if (!info.isFile() || info.size > MAX_BYTES)
    return fail(unusable(file, `is not a file of at most ${MAX_BYTES} bytes`));
  return readFile(file, "utf8").catch(() => fail(unusable(file, "cannot be read")));
}
