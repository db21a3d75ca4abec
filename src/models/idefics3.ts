import type { NameRule } from "./architecture.ts";
import { MISTRAL } from "./mistral.ts";
import { readIdefics3Spec } from "./parts/idefics3-spec.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { type LanguageFamilies, visionLanguage } from "./parts/vision-language.ts";
import { QWEN2 } from "./qwen2.ts";

/** By `text_config.model_type`. Idefics3, SmolVLM and Granite-Docling have LLaMA. */
const LANGUAGES: LanguageFamilies = { llama: LLAMA, mistral: MISTRAL, qwen2: QWEN2 };

const NAMES: readonly NameRule[] = [
  { stored: /^model\.vision_model\./, canonical: "vision_model." },
  { stored: /^model\.connector\./, canonical: "connector." },
  { stored: /^model\.text_model\./, canonical: "model." },
];

/** Everything mmtrt knows about Idefics3 and SmolVLM: tiles through SigLIP, a pixel shuffle, one product, a LLaMA. */
export default visionLanguage({
  hf: ["Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"],
  readsProcessor: true,
  families: LANGUAGES,
  readSpec: c => readIdefics3Spec(c, LANGUAGES),
  names: () => NAMES,
});
