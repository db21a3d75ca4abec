import type { CellResult, MatrixResult } from "../../build/matrix/events.ts";
import { formatProblem } from "../../diagnostics/index.ts";

/** JUnit XML as CI servers read it: one suite, a case for each cell. */
export function junitReport({ cells, file, seconds }: MatrixResult): string {
  const count = (state: CellResult["state"]): number => cells.filter(cell => cell.state === state).length;
  const totals = `tests="${cells.length}" failures="${count("failed")}" errors="0" skipped="${count("skipped")}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="mmtrt matrix" ${totals} time="${seconds.toFixed(3)}">`,
    `  <testsuite name="${escapeXml(file)}" ${totals} time="${seconds.toFixed(3)}">`,
    ...cells.flatMap(cell => testCase(cell, file)),
    "  </testsuite>",
    "</testsuites>",
    "",
  ].join("\n");
}

function testCase(cell: CellResult, file: string): readonly string[] {
  const { name, axes, state, seconds, problems, warnings } = cell;
  const head = `    <testcase classname="${escapeXml(String(axes.model ?? "matrix"))}" name="${escapeXml(name)}" file="${escapeXml(file)}" time="${seconds.toFixed(3)}"`;
  const notes = warnings.map(warning => formatProblem(warning, "warning")).join("\n");
  const out = notes === "" ? [] : [`      <system-out>${escapeXml(notes)}</system-out>`];
  if (state === "failed") {
    const text = problems.map(problem => formatProblem(problem)).join("\n");
    const message = escapeXml(problems[0]?.what ?? "an error that mmtrt did not foresee");
    const type = escapeXml(problems[0]?.code ?? "bug");
    const failure = `      <failure type="${type}" message="${message}">${escapeXml(text)}</failure>`;
    return [`${head}>`, failure, ...out, "    </testcase>"];
  }
  if (state === "skipped")
    return [`${head}>`, '      <skipped message="the run stopped before it"/>', ...out, "    </testcase>"];
  return out.length === 0 ? [`${head}/>`] : [`${head}>`, ...out, "    </testcase>"];
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "\n": "&#10;",
};

/** Text for elements and attributes; what XML 1.0 has no place for, such as colours of a terminal, becomes a question mark. */
export function escapeXml(text: string): string {
  return Array.from(text, char => ENTITIES[char] ?? (isXml(char.codePointAt(0) ?? 0) ? char : "?")).join("");
}

/** The Char production of XML 1.0. A half of a surrogate pair alone is a code point of its own here. */
function isXml(point: number): boolean {
  if (point < 0x20) return point === 0x9 || point === 0xa || point === 0xd;
  return point <= 0xd7ff || (point >= 0xe000 && point !== 0xfffe && point !== 0xffff);
}
