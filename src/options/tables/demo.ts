import { defineOptions, type Values } from "../define.ts";

export const demoOptions = defineOptions({
  image: {
    type: "path",
    group: "Request",
    placeholder: "FILE",
    about: "Another image of coloured shapes than the one that ships with mmtrt.",
  },
  input_text: { type: "string", group: "Request", about: "Another question." },
  output_dir: {
    type: "path",
    group: "Request",
    placeholder: "DIR",
    about: "Keep the checkpoint and the engines here. Without it: a temporary directory that is removed.",
  },
});

export type DemoOptions = Values<typeof demoOptions>;
