import { MISTRAL } from "./mistral.ts";
import { GPT2 } from "./parts/gpt2-decoder.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlavaSpec } from "./parts/llava-spec.ts";
import { OPT } from "./parts/opt-decoder.ts";
import { PROJECTOR_NAMES } from "./parts/projector.ts";
import { type LanguageFamilies, visionLanguage } from "./parts/vision-language.ts";
import { TOWER_NAMES } from "./parts/vit-weights.ts";
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
  names: ({ base }) => [
    ...TOWER_NAMES,
    ...PROJECTOR_NAMES,
    // transformers 5 calls every language model's inner part `model`, GPT-2's `transformer` too.
    { stored: /^language_model\.model\./, canonical: base },
    { stored: /^language_model\./, canonical: "" },
    { stored: /^model\.language_model\./, canonical: base },
  ],
  languagePrefix: "language_model.",
});
