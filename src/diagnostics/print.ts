import { clipped, type Problem } from "./problem.ts";

/** Names in a file may hold sequences that repaint a terminal or rename its window; line breaks and tabs do no harm. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Overrides of direction, which no language needs: a name that is shown backwards is read as another name. */
const OVERRIDES = /[\u202d\u202e]/g;

/** Text of a file as it may be shown to a person: control characters as `\x1b`, overrides of direction as `\u202e`. */
export function printable(text: string): string {
  const hex = (character: string, digits: number): string => character.charCodeAt(0).toString(16).padStart(digits, "0");
  return text
    .replaceAll(CONTROLS, character => `\\x${hex(character, 2)}`)
    .replaceAll(OVERRIDES, character => `\\u${hex(character, 4)}`);
}

/** The text form of DESIGN §7. `paint` colours the head on a terminal; identity elsewhere. */
export function formatProblem(
  given: Problem,
  kind: "error" | "warning" = "error",
  paint = (s: string): string => s,
): string {
  const problem = clipped(given);
  const indent = (text: string): string => printable(text).replaceAll("\n", "\n       ");
  return [
    `${paint(`${kind}[${problem.code}]`)}: ${printable(problem.what)}`,
    `  at   ${indent(problem.at)}`,
    `  why  ${indent(problem.why)}`,
    `  fix  ${indent(problem.fix)}`,
  ].join("\n");
}

/** The NDJSON form: one event a problem. */
export function problemEvent(problem: Problem, kind: "error" | "warning" = "error"): Record<string, string> {
  return { event: kind, ...clipped(problem) };
}
