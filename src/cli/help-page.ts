import { COMMANDS, type CommandInfo, type CommandName } from "../options/commands.ts";
import type { OptionSpec, OptionTable } from "../options/define.ts";
import { envName } from "../options/env.ts";
import { commonOptions } from "../options/tables/common.ts";
import { expectation } from "../options/value.ts";
import { flagOf, groupsOf, usage, wrap } from "./command-help.ts";

const INDENT = "    ";
const DEEPER = INDENT.repeat(2);
/** Longer lines are hard to read, however wide the terminal. */
const MAX_COLUMNS = 100;
const MIN_COLUMNS = 40;

/** What `mmtrt help COMMAND` prints: a manual page from the option table, with values, old spellings and where else to set what. */
export function helpPage(name: CommandName, table: OptionTable, columns = MAX_COLUMNS): string {
  const { about, examples, passthrough }: CommandInfo = COMMANDS[name];
  const width = Math.max(MIN_COLUMNS, Math.min(columns, MAX_COLUMNS));
  const text = (words: string, indent: string): string[] =>
    wrap(words, width - indent.length).map(line => indent + line);
  const handed = passthrough === undefined ? [] : ["", ...text(`Words after -- are handed to ${passthrough}.`, INDENT)];
  const options = [...groupsOf({ ...table, ...commonOptions })].flatMap(([group, entries]) => [
    `${INDENT}${group}`,
    ...entries.flatMap(([key, spec]) => [...optionLines(name, key, spec, text), ""]),
  ]);
  return [
    ...section("NAME", text(`mmtrt ${name}: ${about}`, INDENT)),
    ...section("SYNOPSIS", [`${INDENT}${usage(name, table, passthrough)}`, ...handed]),
    ...section("OPTIONS", options.slice(0, -1)),
    ...section("OLD FLAGS", oldFlags(table, text)),
    ...section(
      "EXAMPLES",
      examples.map(line => `${INDENT}mmtrt ${line}`),
    ),
    ...section("FILES AND ENVIRONMENT", text(settingText(name), INDENT)),
    ...section("EXIT STATUS", text(EXITS, INDENT)),
  ]
    .join("\n")
    .trimEnd();
}

type Text = (words: string, indent: string) => string[];

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : [title, ...lines, ""];
}

function optionLines(command: CommandName, key: string, spec: OptionSpec, text: Text): readonly string[] {
  return [`${INDENT}${flagOf(key, spec)}`, ...text(spec.about, DEEPER), ...text(facts(command, key, spec), DEEPER)];
}

function facts(command: CommandName, key: string, spec: OptionSpec): string {
  const isCommon = Object.hasOwn(commonOptions, key);
  const synonyms = Object.keys(spec.synonyms ?? {});
  const old = (spec.aliases ?? []).map(({ name }) => `${name.length === 1 ? "-" : "--"}${name}`);
  const fallback = spec.required ? "Required." : spec.default === undefined ? "" : `Default: ${String(spec.default)}.`;
  return [
    `Value: ${expectation(spec)}${spec.list ? `, several${spec.commas === false ? "" : " or separated by commas"}` : ""}.`,
    ...(synonyms.length === 0 ? [] : [`Also: ${synonyms.join(", ")}.`]),
    fallback,
    isCommon ? `Environment: ${envName(key)}.` : `YAML: ${command}.${key}. Environment: ${envName(key)}.`,
    ...(old.length === 0 ? [] : [`Old: ${old.join(", ")}.`]),
    ...(spec.deprecated === undefined ? [] : [`Deprecated: ${spec.deprecated}.`]),
  ]
    .filter(part => part !== "")
    .join(" ");
}

/** Accepted so that old command lines run. */
function oldFlags(table: OptionTable, text: Text): readonly string[] {
  return Object.entries(table)
    .filter(([, { hidden }]) => hidden)
    .flatMap(([key, spec]) => [`${INDENT}--${key}`, ...text(todayOf(spec), DEEPER)]);
}

/** What a hidden flag means here. */
export function todayOf({ about, ignored, deprecated }: OptionSpec): string {
  return ignored === undefined ? `${about} Today: ${deprecated ?? "the same"}.` : `No effect: ${ignored}.`;
}

function settingText(name: CommandName): string {
  return `--config FILE names a YAML file: options of this command are under ${name}:, and at the top those that every command with such an option takes. Paths in it are from where it lies. A flag beats the environment, which beats the file.`;
}

const EXITS =
  "0 all is well, 1 bad input, 2 a wrong command line, 3 the machine lacks something, 4 numbers disagree, 70 a bug in mmtrt, 130 and 143 stopped by Ctrl-C and SIGTERM. mmtrt explain CODE tells about the code of an error.";
