import { defineOptions } from "../define.ts";

export const verifyOptions = defineOptions({
  engine_dir: { type: "path", required: true, group: "Files", placeholder: "DIR", about: "What mmtrt build wrote." },
  reference: {
    type: "path",
    group: "Files",
    placeholder: "FILE",
    about: "safetensors file with the reference's inputs and stages (made by test/reference). Not with --ranks.",
  },
  ranks: {
    type: "boolean",
    default: false,
    group: "Ranks",
    about:
      "Run all ranks of a split model in lock-step, with real sums and gathers between them, and compare every sum, layer and the logits with the model in one piece.",
  },
  unsharded: {
    type: "path",
    group: "Ranks",
    placeholder: "DIR",
    about: "With --ranks: what mmtrt build wrote of the same model converted with --tp_size 1 --pp_size 1.",
  },
  steps: {
    type: "integer",
    minimum: 0,
    maximum: 1000,
    default: 4,
    group: "Ranks",
    about: "With --ranks: decode steps compared after the prompt, each over the cache of those before.",
  },
  tolerance: {
    type: "number",
    minimum: 0,
    maximum: 1e6,
    group: "Limits",
    about:
      "Largest difference of an element. Without it: by the engine's element type (1e-4 for float32, 2e-2 for float16 and bfloat16).",
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
