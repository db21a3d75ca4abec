import type { CommandName } from "../options/commands.ts";
import type { OptionTable, Values } from "../options/define.ts";
import type { Ui } from "./ui.ts";

export interface CommandContext<T extends OptionTable> {
  readonly options: Values<T>;
  /** Where the user wrote an option, for `Problem.at`; takes `tp_size` and `build.tp_size`. */
  origin(key: string): string;
  given(key: string): boolean;
  /** The words after `--`; empty unless src/options/commands.ts says what they are handed to. */
  readonly passthrough: readonly string[];
  readonly ui: Ui;
  /** Aborted by Ctrl-C or SIGTERM: stop, remove what is half written, and throw or return. */
  readonly signal: AbortSignal;
}

/** The code of a command. What it is about, its examples and its pass-through are in src/options/commands.ts. */
export interface Command<T extends OptionTable = OptionTable> {
  readonly name: CommandName;
  readonly options: T;
  run(context: CommandContext<T>): Promise<void>;
}

/** Identity that gives `run` the types of the command's options. */
export function defineCommand<const T extends OptionTable>(command: Command<T>): Command<T> {
  return command;
}
