import { defineOptions, type Values } from "../define.ts";

export const inspectOptions = defineOptions({
  path: {
    type: "path",
    required: true,
    positional: true,
    placeholder: "PATH",
    group: "What",
    about: "Model directory, GGUF file, checkpoint directory, safetensors file, ONNX file or engine directory.",
  },
  tensors: { type: "boolean", default: false, group: "What", about: "List every tensor with dtype, shape and file." },
});

export type InspectOptions = Values<typeof inspectOptions>;
