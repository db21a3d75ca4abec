import { defineOptions, type Values } from "../define.ts";

export const explainOptions = defineOptions({
  what: {
    type: "string",
    required: true,
    positional: true,
    placeholder: "CODE",
    group: "What",
    about: "An error code such as CFG001.",
  },
});

export type ExplainOptions = Values<typeof explainOptions>;
