import { defineOptions, type Values } from "../define.ts";

export const evalOptions = defineOptions({
  engine_dir: { type: "path", required: true, group: "Files", placeholder: "DIR", about: "What mmtrt build wrote." },
  texts: {
    type: "path",
    group: "Files",
    placeholder: "FILE",
    about:
      "Texts to read: one a line, or JSON lines with text or input_ids. Without it the prose that mmtrt ships, from its end, which a calibration of few samples does not see.",
  },
  size: {
    type: "integer",
    minimum: 1,
    maximum: 1_048_576,
    default: 16,
    group: "Limits",
    about: "Texts that are read.",
  },
  max_tokens: {
    type: "integer",
    minimum: 2,
    maximum: 1_048_576,
    default: 256,
    group: "Limits",
    about: "Tokens of a text that are read; never more than the engine has room for.",
  },
  threads: {
    type: "integer",
    minimum: 0,
    maximum: 1024,
    default: 0,
    group: "Limits",
    about: "Threads of ONNX Runtime per session; 0 lets it choose.",
  },
});

export type EvalOptions = Values<typeof evalOptions>;
