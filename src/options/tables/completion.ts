import { defineOptions } from "../define.ts";

export const completionOptions = defineOptions({
  shell: {
    type: "string",
    enum: ["bash", "zsh", "fish"],
    required: true,
    positional: true,
    group: "Shell",
    placeholder: "bash|zsh|fish",
    about:
      "The shell that the script is for. Print it into a file that the shell reads, or eval it when a shell starts.",
  },
});
