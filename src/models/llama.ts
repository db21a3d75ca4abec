import { defineArchitecture } from "./architecture.ts";
import { textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";

/** Everything mmtrt knows about LLaMA 1–3, Vicuna, TinyLlama, SmolLM and others saved under LLaMA's class. */
export default defineArchitecture(textOnly(LLAMA, ["LlamaForCausalLM", "LLaMAForCausalLM"]));
