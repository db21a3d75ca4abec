import type { Problem } from "./problem.ts";

/** The text form of DESIGN §7. `paint` colours the head on a terminal; identity elsewhere. */
export function formatProblem(
  problem: Problem,
  kind: "error" | "warning" = "error",
  paint = (s: string): string => s,
): string {
  const indent = (text: string): string => text.replaceAll("\n", "\n       ");
  return [
    `${paint(`${kind}[${problem.code}]`)}: ${problem.what}`,
    `  at   ${indent(problem.at)}`,
    `  why  ${indent(problem.why)}`,
    `  fix  ${indent(problem.fix)}`,
  ].join("\n");
}

/** The NDJSON form: one event a problem. */
export function problemEvent(problem: Problem, kind: "error" | "warning" = "error"): Record<string, string> {
  return { event: kind, ...problem };
}
