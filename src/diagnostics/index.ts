export type { CodeInfo } from "./code-info.ts";
export { CODES, type Code, exitCodeOf } from "./codes.ts";
export { nearest } from "./nearest.ts";
export { formatProblem, printable, problemEvent } from "./print.ts";
export { fail, MmtrtError, type Problem, throwIfAny } from "./problem.ts";
