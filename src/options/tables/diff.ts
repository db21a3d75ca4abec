import { defineOptions } from "../define.ts";

export const diffOptions = defineOptions({
  first: {
    type: "path",
    required: true,
    positional: true,
    group: "Directories",
    placeholder: "A",
    about: "An engine directory or a converted checkpoint.",
  },
  second: {
    type: "path",
    required: true,
    positional: true,
    group: "Directories",
    placeholder: "B",
    about: "Another one of the same kind.",
  },
  exit_code: {
    type: "boolean",
    default: false,
    group: "Output",
    about: "End with exit code 1 when there is a difference.",
  },
});
