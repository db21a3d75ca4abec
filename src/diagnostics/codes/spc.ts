import type { CodeInfo } from "../code-info.ts";

export const SPC = {
  SPC001: {
    title: "a required key is missing from config.json",
    about:
      "The key has no default that is right for every model of the family, so mmtrt does not guess. Add it with the value the model was trained with.",
  },
  SPC002: {
    title: "a key of config.json has an unusable value",
    about:
      "The value has another type or range than the model's code expects. Correct it, or download the file again if it is damaged.",
  },
  SPC003: {
    title: "config.json has a key this version does not know",
    about:
      "A key nobody reads may change the model's numbers; converting anyway could give a wrong model that looks right. Remove the key if it has no effect on inference, or use a newer mmtrt.",
  },
  SPC004: {
    title: "a key of config.json has a value this version does not support",
    about: "The key is known, but the graph for this value is not built. The message lists the supported values.",
  },
  SPC005: {
    title: "two keys of config.json contradict each other",
    about:
      "The same fact is given under two spellings, an older and a newer one of transformers, with different values. Keep the one the model was trained with.",
  },
  SPC006: {
    title: "sizes in config.json do not fit together",
    about:
      "Heads, head size, hidden size, image and patch size depend on each other; with these values no weights of the right shapes can exist. Compare with the original config.json.",
  },
  SPC007: {
    title: "a token id lies outside the vocabulary",
    about:
      "The embedding table has vocab_size rows, so an id from vocab_size on has none; in mmtrt such ids mean rows of the prompt table. Give the id of the placeholder in the model's own tokenizer.",
  },
  SPC008: {
    title: "the architecture is unknown",
    about:
      "mmtrt builds each architecture from a file of its own and does not guess one from sizes. The message lists the architectures of this version.",
  },
  SPC009: {
    title: "the checkpoint is quantized in a way mmtrt does not read",
    about:
      "config.json has a quantization_config: the stored tensors are codes and scales, not weights. GPTQ, AutoAWQ's gemm layout, compressed-tensors and ModelOpt's FP8 and W4A16_AWQ are read (docs/guide/quantization.md). For others convert the unquantized checkpoint of the same model.",
  },
} as const satisfies Record<string, CodeInfo>;
