import { defineOptions, type Values } from "../define.ts";

export const inspectOptions = defineOptions({
  path: {
    type: "path",
    required: true,
    positional: true,
    placeholder: "PATH",
    group: "What",
    hub: true,
    about:
      "Model directory, GGUF file, checkpoint directory, safetensors file, ONNX file, engine directory, or org/name on the Hub.",
  },
  revision: {
    type: "string",
    group: "What",
    placeholder: "REV",
    about: "Branch, tag or commit of a model of the Hub (main).",
  },
  batch_size: {
    type: "integer",
    minimum: 1,
    maximum: 65536,
    group: "Does a request fit",
    about: "Prompts at once; with this or any other of these options an engine directory tells whether it takes them.",
  },
  input_len: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Does a request fit",
    about: "Tokens of the longest prompt, visual features included.",
  },
  images: {
    type: "integer",
    minimum: 0,
    maximum: 65536,
    group: "Does a request fit",
    about: "Images of each prompt. Without it: one, when the model takes images.",
  },
  max_new_tokens: {
    type: "integer",
    minimum: 1,
    maximum: 1 << 24,
    group: "Does a request fit",
    about: "Tokens of the longest answer.",
  },
  num_beams: {
    type: "integer",
    minimum: 1,
    maximum: 256,
    group: "Does a request fit",
    about: "Beams of each prompt in beam search.",
  },
  tensors: { type: "boolean", default: false, group: "What", about: "List every tensor with dtype, shape and file." },
});

export type InspectOptions = Values<typeof inspectOptions>;
