import { defineOptions } from "../define.ts";

/** trtllm-build's options of LoRA adapters. */
export const loraOptions = defineOptions({
  lora_dir: {
    type: "path",
    list: true,
    commas: false,
    group: "Adapters",
    placeholder: "DIR",
    about:
      "LoRA adapters as PEFT saves them: they are kept in the engine directory, and each batch item of a run chooses one (lora_task_uids). Others can be given to run without a build.",
  },
  lora_plugin: {
    type: "string",
    enum: ["auto", "float16", "bfloat16", "float32", "disable"],
    default: "disable",
    group: "Adapters",
    aliases: [{ name: "use_lora_plugin", bare: "auto" }],
    about:
      "auto, or the model's dtype: the graph takes adapters even without lora_dir, and their products are a plugin where a library of --plugins has it. With lora_dir the graph takes them in any case; disable then means standard operators.",
  },
  lora_target_modules: {
    type: "string",
    list: true,
    enum: ["attn_qkv", "attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate"],
    group: "Adapters",
    about:
      "Linear layers that get adapter inputs, in TensorRT-LLM's names. Without it: those that the adapters of lora_dir change, or without lora_dir all of them.",
  },
  max_lora_rank: {
    type: "integer",
    minimum: 1,
    maximum: 65536,
    default: 64,
    group: "Adapters",
    about: "Highest rank of an adapter that the engine takes.",
  },
  max_loras: {
    type: "integer",
    minimum: 1,
    maximum: 4096,
    group: "Adapters",
    about: "Most adapters loaded at once. Without it: 4, or as many as lora_dir has.",
  },
  lora_ckpt_source: {
    type: "string",
    enum: ["hf", "nemo"],
    default: "hf",
    group: "Adapters",
    about: "Form of the adapters: hf is PEFT's directory.",
  },
});
