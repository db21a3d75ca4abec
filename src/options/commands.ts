import type { OptionTable } from "./define.ts";

export interface CommandInfo {
  /** The line in `mmtrt --help`; here so that help needs no command's code. */
  readonly about: string;
  /** The options, loaded when somebody asks. */
  table(): Promise<OptionTable>;
}

/** Every command with options of its own, in the order of `mmtrt --help`. */
export const COMMANDS = {
  demo: {
    about: "The whole job on the small trained LLaVA that ships with mmtrt: an image in, a caption out.",
    table: async () => (await import("./tables/demo.ts")).demoOptions,
  },
  convert: {
    about: "Turn a Hugging Face model directory into a checkpoint with one file per rank.",
    table: async () => (await import("./tables/convert.ts")).convertOptions,
  },
  build: {
    about: "Build engines from a checkpoint.",
    table: async () => (await import("./tables/build.ts")).buildOptions,
  },
  run: {
    about: "Answer questions about images, or continue a text, with built engines.",
    table: async () => (await import("./tables/run.ts")).runOptions,
  },
  verify: {
    about: "Compare engines stage by stage with a reference and name the first stage that differs.",
    table: async () => (await import("./tables/verify.ts")).verifyOptions,
  },
  inspect: {
    about: "Show what a model directory, checkpoint, ONNX file or engine directory holds.",
    table: async () => (await import("./tables/inspect.ts")).inspectOptions,
  },
  explain: {
    about: "Explain an error code: what it means, why it is an error, what to do.",
    table: async () => (await import("./tables/explain.ts")).explainOptions,
  },
  doctor: {
    about: "Check what this machine has and what each part is for.",
    table: async () => (await import("./tables/doctor.ts")).doctorOptions,
  },
  synth: {
    about: "Write a Hugging Face checkpoint of any size with seeded random weights, to try shapes offline.",
    table: async () => (await import("./tables/synth.ts")).synthOptions,
  },
} as const satisfies Record<string, CommandInfo>;

export type CommandName = keyof typeof COMMANDS;
