import { defineArchitecture, type ModelWeights, type NameRule } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { readInternvlSpec } from "./parts/internvl-spec.ts";
import { type LanguageFamily, languageCopies } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { TOWERS } from "./parts/vit.ts";
import { towerIgnored, towerUnused } from "./parts/vit-weights.ts";
import { QWEN2 } from "./qwen2.ts";
import { QWEN3 } from "./qwen3.ts";
import type { ModelSpec } from "./spec.ts";

/** By `text_config.model_type`: Qwen2.5 in InternVL3, Qwen3 in 3.5. */
const LANGUAGES: Readonly<Record<string, LanguageFamily>> = { qwen2: QWEN2, qwen3: QWEN3, llama: LLAMA };

/** Everything mmtrt knows about InternVL: tiles through InternViT, 2 × 2 patches side by side, two products, any LLaMA-like model. */
export default defineArchitecture({
  hf: ["InternVLForConditionalGeneration"],
  readsProcessor: true,
  readSpec: (c: ConfigReader): ModelSpec => c.finish(readInternvlSpec(c, LANGUAGES)),
  weights: spec => weightsOf(spec),
  checkpointConfig: (spec, layout) => familyOf(spec).config(spec.language, layout),
  languageGraph: decoderGraph,
  visualGraph,
});

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

function familyOf({ language }: ModelSpec): LanguageFamily {
  const family = Object.values(LANGUAGES).find(({ architecture }) => architecture === language.architecture);
  if (family === undefined) throw new Error(`InternVL knows no language model ${language.architecture}`);
  return family;
}

function weightsOf(spec: ModelSpec): ModelWeights {
  const { language, vision } = spec;
  const family = familyOf(spec);
  return {
    names: NAMES,
    language: family.weights(language),
    visual: visualWeights(spec),
    ignore: [...family.ignore, ...(vision ? towerIgnored(vision) : [])],
    languagePrefix: "language_model.",
    unused: vision ? towerUnused(vision) : [],
    copies: languageCopies(family, language),
  };
}
