import { open } from "node:fs/promises";
import { CODES, type Code, type CodeInfo, exitCodeOf, fail } from "../../diagnostics/index.ts";
import { openEngine } from "../../formats/engine-dir.ts";
import { nearest } from "../../options/nearest.ts";
import { explainOptions } from "../../options/tables/explain.ts";
import { type ExplainContext, explain as explainLog, type Finding } from "../../toolchain/explain/index.ts";
import { type CommandContext, defineCommand } from "../command.ts";

const EXIT_WORDS: Readonly<Record<number, string>> = {
  1: "bad input",
  2: "usage",
  3: "the machine lacks something",
  4: "numbers disagree",
};

type Context = CommandContext<typeof explainOptions>;

export const explain = defineCommand({
  name: "explain",
  options: explainOptions,
  async run(context) {
    const code = context.options.what.toUpperCase();
    if (isCode(code)) showCode(code, context);
    else await showLog(context);
  },
});

function isCode(text: string): text is Code {
  return Object.hasOwn(CODES, text);
}

function showCode(code: Code, { ui }: Context): void {
  const { title, about }: CodeInfo = CODES[code];
  const exit = exitCodeOf(code);
  ui.result(`${code}: ${title}\n\n${about}\n\nExit code ${exit}: ${EXIT_WORDS[exit]}.`, { code, title, about, exit });
}

async function showLog({ options: { what, engine_dir }, origin, ui }: Context): Promise<void> {
  const [text, context] = await Promise.all([readLog(what, origin("what")), contextOf(engine_dir)]);
  const findings = explainLog(text, context);
  const place = text === what ? origin("what") : what;
  const shown = findings.map(finding => formatFinding(place, finding));
  ui.result(shown.join("\n\n") || `${place}: none of the messages is one that mmtrt knows the cause of`, { findings });
}

/** The form of an error, with the place in the log. */
function formatFinding(log: string, { code, kind, what, why, fix, message, line }: Finding): string {
  const head = kind === "cause" ? code : `${code}, ${kind === "effect" ? "follows from another" : "no error"}`;
  return [`[${head}]: ${what}`, `  at   ${log}:${line}: ${message}`, `  why  ${why}`, `  fix  ${fix}`].join("\n");
}

async function contextOf(dir: string | undefined): Promise<ExplainContext> {
  if (dir === undefined) return {};
  const { llm, visual } = await openEngine(dir);
  const parts = [llm, visual].filter(part => part !== undefined);
  return { profiles: parts.flatMap(part => part.profiles), io: parts.flatMap(part => part.io) };
}

/** Verbose logs have tens of MB; what is cut off is in the middle of nowhere. */
const MAX_LOG = 256 << 20;

async function readLog(what: string, at: string): Promise<string> {
  if (what === "-") return readAll(process.stdin);
  try {
    const handle = await open(what, "r");
    try {
      return await readAll(handle.createReadStream({ encoding: "utf8", autoClose: false }));
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    // No file's name: the message itself, pasted.
    if (/\s/.test(what)) return what;
    const guess = nearest(what.toUpperCase(), Object.keys(CODES));
    return fail({
      code: "CFG012",
      at,
      what: `${what} is neither an error code nor a file that can be read (${error.code})`,
      why: "a code is three letters of its area and three digits, as an error prints it in brackets",
      fix: guess === undefined ? "docs/errors lists all codes" : `did you mean ${guess}?`,
    });
  }
}

async function readAll(stream: AsyncIterable<string | Buffer>): Promise<string> {
  let text = "";
  for await (const chunk of stream) {
    text += String(chunk);
    if (text.length > MAX_LOG) break;
  }
  return text;
}
