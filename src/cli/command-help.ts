import { positionalName } from "../options/argv.ts";
import { COMMANDS, type CommandInfo, type CommandName } from "../options/commands.ts";
import type { OptionSpec, OptionTable } from "../options/define.ts";
import { envName } from "../options/env.ts";
import { commonOptions } from "../options/tables/common.ts";
import { placeholderOf } from "../options/value.ts";

const INDENT = 2;
/** Flags longer than this get a line of their own. */
const FLAG_COLUMN = 34;
const MIN_TEXT = 30;

/** What `mmtrt COMMAND --help` prints, from the command's option table. `columns` is the width of the terminal. */
export function commandHelp(name: CommandName, table: OptionTable, columns = 110): string {
  const { about, examples, passthrough }: CommandInfo = COMMANDS[name];
  const groups = groupsOf({ ...table, ...commonOptions });
  const sections = [...groups].map(([group, options]) => [
    group,
    ...options.flatMap(([key, spec]) => optionLines(key, spec, columns)),
    "",
  ]);
  const shown = examples.length === 0 ? [] : ["Examples", ...examples.map(line => `  mmtrt ${line}`), ""];
  return [`usage: ${usage(name, table, passthrough)}`, "", about, "", ...sections.flat(), ...shown]
    .join("\n")
    .trimEnd();
}

/** `mmtrt convert [MODEL_DIR] --output_dir DIR [options]`, without the words in front. */
export function usage(name: CommandName, options: OptionTable, passthrough: string | undefined): string {
  const words = Object.entries(options)
    .filter(([, spec]) => spec.positional)
    .map(
      ([key, spec]) =>
        `${spec.required ? "" : "["}${positionalName(key, spec)}${spec.list ? " …" : ""}${spec.required ? "" : "]"}`,
    );
  const needed = Object.entries(options)
    .filter(([, spec]) => spec.required && !spec.positional)
    .map(([key, spec]) => `--${key} ${placeholderOf(spec)}`);
  const rest = passthrough === undefined ? [] : [`[-- ${passthrough} flags]`];
  return ["mmtrt", name, ...words, ...needed, "[options]", ...rest].join(" ");
}

/** The visible options by heading, in the order of the table. */
export function groupsOf(table: OptionTable): ReadonlyMap<string, readonly (readonly [string, OptionSpec])[]> {
  const groups = new Map<string, (readonly [string, OptionSpec])[]>();
  for (const [key, spec] of Object.entries(table)) {
    if (spec.hidden) continue;
    const group = spec.group ?? "Options";
    groups.set(group, [...(groups.get(group) ?? []), [key, spec]]);
  }
  return groups;
}

function optionLines(key: string, spec: OptionSpec, columns: number): string[] {
  const flag = " ".repeat(INDENT) + flagOf(key, spec);
  const text = wrap(`${spec.about} ${facts(key, spec)}`, Math.max(MIN_TEXT, columns - FLAG_COLUMN));
  const lines = text.map(line => " ".repeat(FLAG_COLUMN) + line);
  if (flag.length > FLAG_COLUMN - 2) return [flag, ...lines];
  return [flag.padEnd(FLAG_COLUMN) + (text[0] ?? ""), ...lines.slice(1)];
}

/** `MODEL_DIR, --model_dir`, `-q, --quiet`, `--backend onnxruntime|tensorrt`. */
export function flagOf(key: string, spec: OptionSpec): string {
  const short = spec.short === undefined ? "" : `-${spec.short}, `;
  const name = spec.type === "boolean" && spec.default === true ? `--no_${key}` : `--${key}`;
  if (spec.positional) return `${positionalName(key, spec)}, ${name}`;
  return spec.type === "boolean" ? `${short}${name}` : `${short}${name} ${placeholderOf(spec)}`;
}

/** The default and the environment name; what is required says so. */
function facts(key: string, spec: OptionSpec): string {
  const fallback = spec.required
    ? "required"
    : spec.default === undefined
      ? undefined
      : `default ${String(spec.default)}`;
  const parts = [fallback, spec.short === "h" ? undefined : envName(key)].filter(part => part !== undefined);
  return parts.length === 0 ? "" : `[${parts.join(", ")}]`;
}

export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.trim().split(" ")) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
