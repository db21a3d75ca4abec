import { CODES, type CodeInfo, type Problem } from "../../diagnostics/index.ts";
import type { Captures, ExplainContext, Explanation, Finding, FindingKind } from "./explanation.ts";
import { FILE_MESSAGES } from "./files.ts";
import { GRAPH_MESSAGES } from "./graph.ts";
import { BUILDER_MESSAGES } from "./machine.ts";
import { PROFILE_MESSAGES } from "./profiles.ts";

export type { ExplainContext, Explanation, Finding, FindingKind } from "./explanation.ts";

export const EXPLANATIONS: readonly Explanation[] = [
  ...PROFILE_MESSAGES,
  ...GRAPH_MESSAGES,
  ...BUILDER_MESSAGES,
  ...FILE_MESSAGES,
];

/** trtexec's verbose logs reach tens of MB; the cause is in the first or the last part, and patterns cost time. */
const MAX_HALF = 1 << 20;
/** A log can repeat one message for every layer. */
const MAX_OF_A_KIND = 20;

const ORDER: Readonly<Record<FindingKind, number>> = { cause: 0, notice: 1, effect: 2 };

/**
 * What a log, a message or an exception's text says, most likely cause first. Findings of one kind keep the log's order,
 * because TensorRT's first error is the one that the later ones follow from. No finding: nothing we know is in the text.
 */
export function explain(text: string, context: ExplainContext = {}): readonly Finding[] {
  const log = middleCut(withoutMarks(text));
  const found: Finding[] = [];
  for (const explanation of EXPLANATIONS) found.push(...findingsOf(explanation, log, context));
  const causes = found.filter(finding => !isFollowing(finding, found));
  return distinct(causes.sort((a, b) => ORDER[a.kind] - ORDER[b.kind] || a.line - b.line));
}

/** A finding as the Problem that ends a build. */
export function findingProblem({ code, what, why, fix }: Finding, at: string): Problem {
  return { code, what, at, why, fix };
}

function findingsOf(explanation: Explanation, log: string, context: ExplainContext): readonly Finding[] {
  const { code, kind, pattern, what, fix } = explanation;
  const info: CodeInfo = CODES[code];
  const everywhere = new RegExp(pattern.source, `${pattern.flags.replace("g", "")}g`);
  const found: Finding[] = [];
  for (const match of log.matchAll(everywhere)) {
    const captures: Captures = Object.fromEntries(
      Object.entries(match.groups ?? {}).map(([name, value]) => [name, value ?? ""]),
    );
    found.push({
      code,
      kind,
      title: info.title,
      what: what(captures, context),
      why: info.about,
      fix: fix(captures, context),
      message: lineAt(log, match.index),
      line: log.slice(0, match.index).split("\n").length,
    });
    if (found.length === MAX_OF_A_KIND) break;
  }
  return found;
}

/** Messages that TensorRT prints in the wake of another one: they would send the reader the wrong way. */
const FOLLOWS: Readonly<Record<string, readonly string[]>> = {
  // A refused profile leaves none.
  TRT106: ["TRT107"],
  // An unreadable weight file is then also "not importable"; an unsupported node names its own reason.
  TRT140: ["TRT122", "TRT123", "TRT124"],
  TRT142: ["TRT121", "TRT130", "TRT131", "TRT137", "TRT139", "TRT143"],
  // A library that is named gives a better cure than "a plugin library".
  TRT221: ["TRT166", "TRT244", "TRT245"],
  TRT244: ["TRT245"],
  // A stale timing cache fails with the words that an engine's version check has.
  TRT201: ["TRT173"],
};

function isFollowing(finding: Finding, found: readonly Finding[]): boolean {
  const leaders = FOLLOWS[finding.code];
  return leaders !== undefined && found.some(other => leaders.includes(other.code));
}

function distinct(findings: readonly Finding[]): readonly Finding[] {
  const seen = new Set<string>();
  return findings.filter(({ code, what }) => !seen.has(`${code} ${what}`) && seen.add(`${code} ${what}`));
}

/** Colours of terminals, and carriage returns. */
function withoutMarks(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return text.replaceAll(/\u001b\[[\d;]*m/g, "").replaceAll("\r", "");
}

/** The middle of a long log as empty lines, so that line numbers stay true. */
function middleCut(text: string): string {
  if (text.length <= 2 * MAX_HALF) return text;
  const lost = text.slice(MAX_HALF, -MAX_HALF).split("\n").length;
  return `${text.slice(0, MAX_HALF)}${"\n".repeat(lost - 1)}${text.slice(-MAX_HALF)}`;
}

function lineAt(log: string, index: number): string {
  const end = log.indexOf("\n", index);
  return log
    .slice(log.lastIndexOf("\n", index - 1) + 1, end < 0 ? undefined : end)
    .trim()
    .slice(0, 2000);
}
