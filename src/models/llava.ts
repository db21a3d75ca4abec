import { MISTRAL } from "./mistral.ts";
import { GPT2 } from "./parts/gpt2-decoder.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { llavaNames } from "./parts/llava-names.ts";
import { readLlavaSpec } from "./parts/llava-spec.ts";
import { OPT } from "./parts/opt-decoder.ts";
import { type LanguageFamilies, visionLanguage } from "./parts/vision-language.ts";
import { QWEN2 } from "./qwen2.ts";

/** By `text_config.model_type`. LLaVA-1.5 has LLaMA; the class takes any language model. */
const LANGUAGES: LanguageFamilies = {
  llama: LLAMA,
  qwen2: QWEN2,
  mistral: MISTRAL,
  gpt2: GPT2,
  opt: OPT,
};

/** Everything mmtrt knows about LLaVA-1.5: CLIP up to a feature layer → two-layer projector → LLaMA with a prompt table. */
export default visionLanguage({
  hf: ["LlavaForConditionalGeneration"],
  families: LANGUAGES,
  readSpec: c => readLlavaSpec(c, LANGUAGES),
  names: llavaNames,
  languagePrefix: "language_model.",
});
