import { MISTRAL } from "./mistral.ts";
import { type AnyresFamily, readAnyresSpec } from "./parts/anyres-spec.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { llavaNames } from "./parts/llava-names.ts";
import { type LanguageFamilies, visionLanguage } from "./parts/vision-language.ts";
import { QWEN2 } from "./qwen2.ts";

/** By `text_config.model_type`: Vicuna and Llama 3, Mistral, Qwen1.5 in the published ones. */
const LANGUAGES: LanguageFamilies = { llama: LLAMA, mistral: MISTRAL, qwen2: QWEN2 };

const LLAVA_NEXT: AnyresFamily = {
  architecture: "LlavaNextForConditionalGeneration",
  modelType: "llava_next",
  whole: "LLaVA-NeXT",
  text: "llama",
  towers: ["clip_vision_model", "siglip_vision_model"],
  feature: { layer: -2, dropClassToken: true },
  imageToken: 32_000,
  ids: { bos: 1, eos: 2 },
  pinpoints: [
    [336, 672],
    [672, 336],
    [672, 672],
    [1008, 336],
    [336, 1008],
  ],
};

/** Everything mmtrt knows about LLaVA-NeXT (1.6): LLaVA over the tiles of a grid chosen for each image, a newline's embedding after each row. */
export default visionLanguage({
  hf: [LLAVA_NEXT.architecture],
  readsProcessor: true,
  families: LANGUAGES,
  readSpec: c => readAnyresSpec(c, LANGUAGES, LLAVA_NEXT),
  names: llavaNames,
  languagePrefix: "language_model.",
});
