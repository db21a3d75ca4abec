import { defineOptions, type Values } from "../define.ts";

export const evalOptions = defineOptions({
  task: {
    type: "string",
    enum: ["perplexity", "passkey"],
    default: "perplexity",
    positional: true,
    group: "What",
    about:
      "perplexity: how likely texts are to the model. passkey: whether it finds a number hidden in filler text, by length of the text and depth of the number in it.",
  },

  engine_dir: { type: "path", required: true, group: "Files", placeholder: "DIR", about: "What mmtrt build wrote." },
  texts: {
    type: "path",
    group: "Files",
    placeholder: "FILE",
    about:
      "perplexity: texts to read, one a line, or JSON lines with text or input_ids. Without it the prose that mmtrt ships, from its end, which a calibration of few samples does not see.",
  },

  size: {
    type: "integer",
    minimum: 1,
    maximum: 1_048_576,
    default: 16,
    group: "Perplexity",
    about: "Texts that are read.",
  },
  max_tokens: {
    type: "integer",
    minimum: 2,
    maximum: 1_048_576,
    default: 256,
    group: "Perplexity",
    about: "Tokens of a text that are read; never more than the engine has room for.",
  },

  context_len: {
    type: "integer",
    list: true,
    minimum: 1,
    maximum: 1 << 24,
    group: "Passkey",
    about:
      "Lengths to try, in tokens of prompt and answer together. Without it: the longest that the engine takes, its half and its quarter.",
  },
  depths: {
    type: "integer",
    list: true,
    minimum: 0,
    maximum: 100,
    default: [0, 25, 50, 75, 100],
    group: "Passkey",
    about: "Where the number stands, in percent of the filler: 0 is its beginning, 100 its end.",
  },
  samples: {
    type: "integer",
    minimum: 1,
    maximum: 10_000,
    default: 1,
    group: "Passkey",
    about: "Numbers that are hidden for each length and depth.",
  },
  seed: {
    type: "integer",
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    default: 0,
    group: "Passkey",
    about: "Chooses the numbers: the same seed gives the same ones on every machine.",
  },
  prompt_format: {
    type: "string",
    enum: ["auto", "chat", "raw"],
    default: "raw",
    group: "Passkey",
    about:
      'raw: the text ends in "The pass key is" and the model goes on; chat and auto put it into the model\'s prompt, as run does.',
  },
  min_accuracy: {
    type: "number",
    minimum: 0,
    maximum: 1,
    group: "Passkey",
    about: "Exit with code 4 when a smaller part of all numbers is found.",
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

/** Options that one task alone heeds. */
export const TASK_OPTIONS: Readonly<Record<EvalOptions["task"], readonly (keyof EvalOptions & string)[]>> = {
  perplexity: ["texts", "size", "max_tokens"],
  passkey: ["context_len", "depths", "samples", "seed", "prompt_format", "min_accuracy"],
};
