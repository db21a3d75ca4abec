import type { NameRule } from "./architecture.ts";
import { readInternvlSpec } from "./parts/internvl-spec.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { type LanguageFamilies, visionLanguage } from "./parts/vision-language.ts";
import { TOWERS } from "./parts/vit.ts";
import { QWEN2 } from "./qwen2.ts";
import { QWEN3 } from "./qwen3.ts";

/** By `text_config.model_type`: Qwen2.5 in InternVL3, Qwen3 in 3.5. */
const LANGUAGES: LanguageFamilies = { qwen2: QWEN2, qwen3: QWEN3, llama: LLAMA };

const TOWER = TOWERS.internvit.name;

/** transformers names InternViT's tensors as BEiT's; here they have the other towers' names. The first pattern that fits is used. */
const NAMES: readonly NameRule[] = [
  ...Object.entries({
    "embeddings\\.cls_token": "embeddings.class_embedding",
    "embeddings\\.position_embeddings": "embeddings.position_embedding",
    "embeddings\\.patch_embeddings\\.projection": "embeddings.patch_embedding",
    "encoder\\.layer\\.(\\d+)\\.attention\\.projection_layer": "encoder.layers.$1.self_attn.out_proj",
    "encoder\\.layer\\.(\\d+)\\.attention": "encoder.layers.$1.self_attn",
    "encoder\\.layer\\.(\\d+)\\.layernorm_before": "encoder.layers.$1.layer_norm1",
    "encoder\\.layer\\.(\\d+)\\.layernorm_after": "encoder.layers.$1.layer_norm2",
    "encoder\\.layer\\.(\\d+)": "encoder.layers.$1",
  }).map(([stored, canonical]) => ({
    stored: new RegExp(`^(?:model\\.)?vision_tower\\.${stored}(?=\\.|$)`),
    canonical: `${TOWER}.${canonical}`,
  })),
  { stored: /^(?:model\.)?multi_modal_projector\.layer_norm\./, canonical: "multi_modal_projector.norm." },
  { stored: /^model\.multi_modal_projector\./, canonical: "multi_modal_projector." },
  { stored: /^model\.language_model\./, canonical: "model." },
  { stored: /^language_model\./, canonical: "" },
];

/** Everything mmtrt knows about InternVL: tiles through InternViT, 2 × 2 patches side by side, two products, any LLaMA-like model. */
export default visionLanguage({
  hf: ["InternVLForConditionalGeneration"],
  readsProcessor: true,
  families: LANGUAGES,
  readSpec: c => readInternvlSpec(c, LANGUAGES),
  names: () => NAMES,
  languagePrefix: "language_model.",
});
