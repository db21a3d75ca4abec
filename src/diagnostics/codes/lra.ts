import type { CodeInfo } from "../code-info.ts";

export const LRA = {
  LRA001: {
    title: "a directory holds no LoRA adapter",
    about:
      "An adapter is what PEFT's save_pretrained writes: adapter_config.json beside adapter_model.safetensors (or .bin). Give that directory; adapters of NeMo are converted to PEFT's form first.",
  },
  LRA002: {
    title: "a key of adapter_config.json cannot be used",
    about:
      "The config says which layers an adapter changes and how strongly, so every key is read: one of another type, out of range, unknown and switched on, or a pattern that JavaScript's regular expressions have not.",
  },
  LRA003: {
    title: "an adapter is of a form that two thin matrices are not",
    about:
      "DoRA, QA-LoRA, activated LoRA, adapted embeddings, biases of adapters and their like change the base model in other ways than adding x·Aᵀ·Bᵀ to a linear layer. Merge such an adapter with PEFT, and convert the result.",
  },
  LRA004: {
    title: "an adapter was trained on base weights that are not the published ones",
    about:
      "PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA take a part out of the base weights before training begins. PEFT turns such an adapter into a plain one with path_initial_model_for_weight_conversion.",
  },
  LRA005: {
    title: "tensors of an adapter have no place in the model",
    about:
      "Adapters change the linear layers of the language model's attention and MLP. Tensors of other modules, of layers that the model has not, of the vision part, or of modules that adapter_config.json does not name are refused: leaving them out would give other answers.",
  },
  LRA006: {
    title: "an adapter lacks tensors that it should have",
    about:
      "Every module that target_modules names has lora_A and lora_B in the file. One half alone, or a module without either, means that the file was cut or belongs to another config.",
  },
  LRA007: {
    title: "a tensor of an adapter has another shape than the model or the config says",
    about:
      "lora_A is [rank, in] and lora_B [out, rank], with the base layer's in and out, and the rank of r or rank_pattern. The rank is also in the scaling alpha / rank, so a wrong one is not guessed.",
  },
  LRA008: {
    title: "an adapter has a higher rank than the engine was built for",
    about:
      "max_lora_rank is the largest size of the adapters' inputs in every profile. Build with a larger --max_lora_rank; smaller ranks are always taken.",
  },
  LRA009: {
    title: "an adapter changes modules that the engine has no inputs for",
    about:
      "An engine has adapter inputs for its lora_target_modules alone. Build again with the modules named in the message, or without --lora_target_modules, which takes all that the adapters of --lora_dir have.",
  },
  LRA010: {
    title: "more adapters are loaded than the engine was built for",
    about:
      "All loaded adapters lie in the engine's inputs one after the other; --max_loras says how many there may be.",
  },
  LRA011: {
    title: "lora_task_uids do not fit the request or the adapters",
    about:
      "Each item of the batch has one number: 0 for the first adapter, 1 for the second, −1 for none. Give one for each prompt, a single one for all, or several for a single prompt.",
    exit: 2,
  },
  LRA012: {
    title: "the engine was built without adapters",
    about:
      "Adapters are inputs of the graph, which are there when it was built with --lora_dir or --lora_plugin auto. Build again; the checkpoint stays as it is.",
  },
  LRA013: {
    title: "an adapter brings whole tensors of the base model",
    about:
      "Whole tensors, of modules_to_save other than lm_head and embed_tokens and trained biases, replace the base model's for the whole batch, and cannot be swapped with the adapter. mmtrt lora merge writes a model that has them.",
  },
  LRA014: {
    title: "adapters are not supported for this model",
    about:
      "Adapters are inputs of decoder-only language models, with base weights whose inputs reach the layer as the model computes them. The message says what is different here; mmtrt lora merge works for any model.",
  },
  LRA015: {
    title: "options of adapters contradict one another",
    about:
      "lora_ckpt_source is hf: adapters are read as PEFT saves them. lora_target_modules, max_lora_rank and max_loras must have room for the adapters of lora_dir.",
    exit: 2,
  },
  LRA016: {
    title: "an adapter of the engine directory is not the one that was built in",
    about:
      "The hashes of lora/0, lora/1 … are in the engine's config. Build again, or give changed adapters with run --lora_dir, which need no build.",
  },
  LRA017: {
    title: "an adapter cannot be merged into this checkpoint",
    about:
      "Merging adds B·A to a stored weight, so the weight must be stored plain: in float32, float16 or bfloat16, in safetensors or PyTorch files.",
  },
  LRA018: {
    title: "an adapter's word tables cannot take the place of the base model's",
    about:
      "build puts the lm_head and embed_tokens of one adapter into the graph for every item of the batch. That takes tables of the base model's shape, stored as floats, apart from one another, and one adapter of lora_dir that brings them. The message says what is different; mmtrt lora merge takes each adapter by itself.",
  },
  LRA019: {
    title: "an adapter given at run time has other word tables than the engine",
    about:
      "The lm_head and embed_tokens of an adapter are in the graph since the build, for every item. Others cannot be swapped in: build again with the adapter in --lora_dir, or give the adapter that the engine was built with.",
  },
} as const satisfies Record<string, CodeInfo>;
