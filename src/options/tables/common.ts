import { defineOptions } from "../define.ts";

/** What every command takes; set by flag or environment only, because a config file must not hide how its own errors print. */
export const commonOptions = defineOptions({
  config: {
    type: "path",
    group: "Common",
    placeholder: "FILE",
    about: "YAML file with options: one section per command, and keys at the top for every command that has them.",
  },
  json: {
    type: "boolean",
    default: false,
    group: "Common",
    about: "Print NDJSON events on stdout, one object a line, instead of text.",
  },
  quiet: {
    type: "boolean",
    default: false,
    short: "q",
    group: "Common",
    about: "Print results and errors only: no progress, no notes.",
  },
  color: {
    type: "string",
    enum: ["auto", "always", "never"],
    default: "auto",
    group: "Common",
    about: "Colour the output. auto colours a terminal unless NO_COLOR is set.",
  },
  debug: { type: "boolean", default: false, group: "Common", about: "Show stacks and causes of errors." },
  help: { type: "boolean", default: false, short: "h", group: "Common", about: "Show this help." },
});
