import { completionOptions } from "../../options/tables/completion.ts";
import { defineCommand } from "../command.ts";
import { bashCompletion } from "../completion/bash.ts";
import { fishCompletion } from "../completion/fish.ts";
import { completedCommands } from "../completion/words.ts";
import { zshCompletion } from "../completion/zsh.ts";
import { VERSION } from "../version.ts";

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

export const completion = defineCommand({
  name: "completion",
  options: completionOptions,
  async run({ options: { shell }, ui }) {
    const script = SCRIPTS[shell](await completedCommands(), VERSION);
    ui.result(script.trimEnd(), { shell, script });
  },
});
