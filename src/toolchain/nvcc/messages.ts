import type { Problem } from "../../diagnostics/index.ts";

/** Enough to see what is wrong; one missing brace can give hundreds. */
const MOST = 8;

/** nvcc's and ptxas's form, then that of g++, which compiles the host's side. */
const COMPILER =
  /^(?<file>[^\s(:][^(:]*)[(:](?<line>\d+)(?:\)|:\d+)?\s*:\s*(?:fatal |catastrophic )?error(?: #\d+(?:-D)?)?\s*:\s*(?<text>.+)$/;
const ARCHITECTURE = /Unsupported gpu architecture '(?:compute|sm)_(?<sm>\d+)[a-z]?'/;
const FATAL = /^(?:nvcc|ptxas|nvlink|ld|collect2|fatbinary)\s*(?:fatal|error)?\s*:\s*(?<text>.+)$/;

/** What a compiler's lines say is wrong, at least one Problem: PLG003 for each error, PLG005 for a GPU that it does not know. */
export function compileProblems(lines: readonly string[], source: string, command: string): readonly Problem[] {
  const architecture = lines.map(line => ARCHITECTURE.exec(line)?.groups?.sm).find(sm => sm !== undefined);
  if (architecture !== undefined) return [unknownArchitecture(architecture, command)];
  const errors = lines.flatMap(line => {
    const { file, line: number, text } = COMPILER.exec(line.trim())?.groups ?? {};
    return file === undefined || text === undefined ? [] : [{ at: `${file}:${number}`, what: text.trim() }];
  });
  const said = lines.flatMap(line => FATAL.exec(line.trim())?.groups?.text ?? []);
  const other = {
    at: source,
    what: said[0] ?? lines.filter(line => line.trim() !== "").at(-1) ?? "the compiler ended without a word",
  };
  const shown = errors.length > 0 ? unique(errors).slice(0, MOST) : [other];
  return shown.map(({ at, what }) => ({
    code: "PLG003",
    at,
    what: what.slice(0, 500),
    why: "the compiler refuses it",
    fix: `correct the source; to see all of it: ${command}`,
  }));
}

/** An error in a template or a header comes once for each that uses it. */
function unique(errors: readonly { at: string; what: string }[]): readonly { at: string; what: string }[] {
  return [...new Map(errors.map(error => [`${error.at} ${error.what}`, error])).values()];
}

function unknownArchitecture(sm: string, command: string): Problem {
  return {
    code: "PLG005",
    at: "--sm",
    what: `this nvcc cannot compile for SM ${sm}`,
    why: "each CUDA release knows the GPUs of its time: SM 120 needs CUDA 12.8, and CUDA 13 has dropped those before SM 75",
    fix: `leave ${sm} out of --sm, or use another CUDA toolkit (the command was: ${command})`,
  };
}
