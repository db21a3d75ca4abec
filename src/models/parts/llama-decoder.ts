import type { LanguageFamily } from "./language.ts";
import { llamaConfig } from "./llama-config.ts";
import { readLlamaDecoder } from "./llama-spec.ts";
import { LLAMA_IGNORED, LLAMA_NAMES, llamaWeights } from "./llama-weights.ts";

export const LLAMA: LanguageFamily = {
  architecture: "LlamaForCausalLM",
  modelType: "llama",
  read: readLlamaDecoder,
  base: "model.",
  names: LLAMA_NAMES,
  ignore: LLAMA_IGNORED,
  weights: llamaWeights,
  words: "model.embed_tokens.weight",
  config: llamaConfig,
};
