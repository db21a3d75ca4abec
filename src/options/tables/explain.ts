import { defineOptions, type Values } from "../define.ts";

export const explainOptions = defineOptions({
  code: {
    type: "string",
    required: true,
    positional: true,
    group: "What",
    about: "An error code such as CFG001, as errors print it in brackets.",
  },
});

export type ExplainOptions = Values<typeof explainOptions>;
