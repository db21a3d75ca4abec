import { defineOptions } from "../define.ts";

export const explainOptions = defineOptions({
  what: {
    type: "string",
    required: true,
    positional: true,
    placeholder: "CODE|LOG",
    group: "What",
    about:
      "An error code such as CFG001, a log file of TensorRT, trtexec or another tool built on it, or a message in quotes; - reads stdin.",
  },
  engine_dir: {
    type: "path",
    group: "What",
    placeholder: "DIR",
    about: "The engine directory that the log is about: its profiles tell which limit a request broke.",
  },
});
