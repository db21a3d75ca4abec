import { CODES, type Code, type CodeInfo, exitCodeOf, fail } from "../../diagnostics/index.ts";
import { nearest } from "../../options/nearest.ts";
import { explainOptions } from "../../options/tables/explain.ts";
import { defineCommand } from "../command.ts";

const EXIT_WORDS: Readonly<Record<number, string>> = {
  1: "bad input",
  2: "usage",
  3: "the machine lacks something",
  4: "numbers disagree",
};

export const explain = defineCommand({
  name: "explain",
  options: explainOptions,
  async run({ options: { code: typed }, origin, ui }) {
    const code = typed.toUpperCase();
    if (!isCode(code)) {
      const guess = nearest(code, Object.keys(CODES));
      return fail({
        code: "CFG012",
        at: origin("code"),
        what: `there is no code ${typed}`,
        why: "a code is three letters of its area and three digits, as an error prints it in brackets",
        fix: guess === undefined ? "docs/errors lists all codes" : `did you mean ${guess}?`,
      });
    }
    const { title, about }: CodeInfo = CODES[code];
    const exit = exitCodeOf(code);
    ui.result(`${code}: ${title}\n\n${about}\n\nExit code ${exit}: ${EXIT_WORDS[exit]}.`, { code, title, about, exit });
  },
});

function isCode(text: string): text is Code {
  return Object.hasOwn(CODES, text);
}
