import { type Code, exitCodeOf } from "./codes.ts";

/**
 * One thing that is wrong with what the user gave us.
 * All four texts are required: a message that says what is wrong but not what to type is half a message.
 */
export interface Problem {
  readonly code: Code;
  /** The value seen and the value expected. */
  readonly what: string;
  /** Where the *user* wrote it: a flag, `file:line:col`, or tensor + shard + byte offset. */
  readonly at: string;
  /** One sentence of domain reason. */
  readonly why: string;
  /** Something to type or change. */
  readonly fix: string;
}

/** Expected failure: carries every problem found, prints without a stack. Anything else that is thrown is a bug (exit 70). */
export class MmtrtError extends Error {
  readonly problems: readonly Problem[];

  constructor(given: readonly Problem[], options?: ErrorOptions) {
    const problems = given.map(clipped);
    super(problems.map(p => `error[${p.code}]: ${p.what} (at ${p.at}; ${p.fix})`).join("\n"), options);
    this.name = "MmtrtError";
    this.problems = problems;
  }

  /** The strongest exit code among the problems: a missing tool outranks bad input, which outranks usage. */
  get exitCode(): number {
    return Math.max(...this.problems.map(p => exitCodeOf(p.code)));
  }
}

/** Values of hostile files are quoted in problems; lists of real names stay below this. */
const MAX_TEXT = 4000;

/** The same problem, less the middle of a text that nobody would read to its end. */
export function clipped(problem: Problem): Problem {
  const { code, what, at, why, fix } = problem;
  if ([what, at, why, fix].every(text => text.length <= MAX_TEXT)) return problem;
  return { code, what: clip(what), at: clip(at), why: clip(why), fix: clip(fix) };
}

function clip(text: string): string {
  if (text.length <= MAX_TEXT) return text;
  const [head, tail] = [text.slice(0, MAX_TEXT / 2), text.slice(-MAX_TEXT / 4)];
  return `${head} … (${text.length - head.length - tail.length} characters) … ${tail}`;
}

/** Throws when there is at least one problem; the usual end of a collecting check. */
export function throwIfAny(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new MmtrtError(problems);
}

/** Shorthand for the single-problem case. */
export function fail(problem: Problem): never {
  throw new MmtrtError([problem]);
}
