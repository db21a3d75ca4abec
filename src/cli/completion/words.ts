import { COMMANDS, type CommandInfo, type CommandName } from "../../options/commands.ts";
import type { OptionSpec, OptionTable } from "../../options/define.ts";
import { commonOptions } from "../../options/tables/common.ts";
import { isCommand } from "../registry.ts";

/** What may stand after a flag, or for a word without one. */
export type Expected =
  | { readonly kind: "nothing" }
  | { readonly kind: "path" }
  | { readonly kind: "words"; readonly words: readonly string[] }
  /** A number or a text that nobody can guess. */
  | { readonly kind: "free" };

export interface CompletedFlag {
  /** `--tp_size`, with the letter it has. */
  readonly names: readonly string[];
  readonly about: string;
  readonly takes: Expected;
  readonly list: boolean;
}

export interface CompletedCommand {
  readonly name: string;
  readonly about: string;
  readonly flags: readonly CompletedFlag[];
  /** Words without a flag, in their order. */
  readonly words: readonly (Expected & { readonly label: string; readonly list: boolean })[];
}

/** Every command as a shell completes it, in the order of `mmtrt --help`. */
export async function completedCommands(): Promise<readonly CompletedCommand[]> {
  const names = (Object.keys(COMMANDS) as CommandName[]).filter(isCommand);
  return Promise.all(names.map(async name => completedCommand(name, COMMANDS[name], await COMMANDS[name].table())));
}

/** A command as a shell completes it: modern spellings alone, and nothing that has no effect. */
function completedCommand(name: string, { about }: CommandInfo, table: OptionTable): CompletedCommand {
  const options = Object.entries({ ...table, ...commonOptions } as OptionTable).filter(([, { hidden }]) => !hidden);
  return {
    name,
    about,
    flags: options.map(([key, spec]) => flagOf(key, spec)),
    words: options
      .filter(([, { positional }]) => positional)
      .map(([key, spec]) => ({ ...expected(spec), label: spec.placeholder ?? key, list: spec.list === true })),
  };
}

function flagOf(key: string, spec: OptionSpec): CompletedFlag {
  const long = spec.type === "boolean" && spec.default === true ? `--no_${key}` : `--${key}`;
  const names = spec.short === undefined ? [long] : [long, `-${spec.short}`];
  return { names, about: firstSentence(spec.about), takes: expected(spec), list: spec.list === true };
}

function expected(spec: OptionSpec): Expected {
  if (spec.type === "boolean") return { kind: "nothing" };
  const words = [...(spec.enum ?? []), ...(spec.words ?? [])];
  if (words.length > 0) return { kind: "words", words };
  return { kind: spec.type === "path" ? "path" : "free" };
}

/** A menu has one line for each. */
function firstSentence(about: string): string {
  return /^.*?[^.\s]{2}\.(?=\s|$)/s.exec(about)?.[0].slice(0, -1) ?? about;
}
