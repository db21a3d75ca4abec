import { COMMANDS, type CommandName } from "../options/commands.ts";
import type { OptionTable, Values } from "../options/define.ts";
import type { Ui } from "./ui.ts";

export interface CommandContext<T extends OptionTable> {
  readonly options: Values<T>;
  /** Where the user wrote an option, for `Problem.at`; takes `tp_size` and `build.tp_size`. */
  origin(key: string): string;
  given(key: string): boolean;
  /** The words after `--`; empty unless the command asks for them. */
  readonly passthrough: readonly string[];
  readonly ui: Ui;
  /** Aborted by Ctrl-C or SIGTERM: stop, remove what is half written, and throw or return. */
  readonly signal: AbortSignal;
}

export interface Command<T extends OptionTable = OptionTable> {
  readonly name: CommandName;
  readonly about: string;
  readonly options: T;
  /** Command lines without the leading `mmtrt`, shown in help and docs. */
  readonly examples: readonly string[];
  /** What the words after `--` are handed to (`trtexec`); without it such words are an error. */
  readonly passthrough?: string;
  run(context: CommandContext<T>): Promise<void>;
}

/** A command's `about` comes from src/options/commands.ts, so that `mmtrt --help` needs no command's code. */
export function defineCommand<const T extends OptionTable>(command: Omit<Command<T>, "about">): Command<T> {
  return { ...command, about: COMMANDS[command.name].about };
}
