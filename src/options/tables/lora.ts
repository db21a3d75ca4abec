import { defineOptions } from "../define.ts";

export const loraCommandOptions = defineOptions({
  action: {
    type: "string",
    enum: ["merge", "inspect"],
    required: true,
    positional: true,
    group: "What",
    about: "merge writes a model with an adapter in its weights; inspect shows what an adapter changes.",
  },
  first: {
    type: "path",
    required: true,
    positional: true,
    group: "What",
    placeholder: "MODEL_DIR",
    about: "merge: the base model in Hugging Face's form. inspect: the adapter.",
  },
  adapter: {
    type: "path",
    positional: true,
    group: "What",
    placeholder: "ADAPTER_DIR",
    about: "merge: the adapter as PEFT saves it.",
  },
  output_dir: {
    type: "path",
    group: "What",
    placeholder: "DIR",
    aliases: [{ name: "o" }],
    about: "merge: where the model goes. Must be new or empty.",
  },
});
