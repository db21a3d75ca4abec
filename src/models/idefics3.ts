import { defineArchitecture, type ModelWeights, type NameRule } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { MISTRAL } from "./mistral.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { readIdefics3Spec } from "./parts/idefics3-spec.ts";
import { type LanguageFamily, languageCopies } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { towerIgnored } from "./parts/vit-weights.ts";
import { QWEN2 } from "./qwen2.ts";
import type { ModelSpec } from "./spec.ts";

/** By `text_config.model_type`. Idefics3, SmolVLM and Granite-Docling have LLaMA. */
const LANGUAGES: Readonly<Record<string, LanguageFamily>> = { llama: LLAMA, mistral: MISTRAL, qwen2: QWEN2 };

/** Everything mmtrt knows about Idefics3 and SmolVLM: tiles through SigLIP, a pixel shuffle, one product, a LLaMA. */
export default defineArchitecture({
  hf: ["Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"],
  readsProcessor: true,
  readSpec: (c: ConfigReader): ModelSpec => c.finish(readIdefics3Spec(c, LANGUAGES)),
  weights: spec => weightsOf(spec),
  checkpointConfig: (spec, layout) => familyOf(spec).config(spec.language, layout),
  languageGraph: decoderGraph,
  visualGraph,
});

const NAMES: readonly NameRule[] = [
  { stored: /^model\.vision_model\./, canonical: "vision_model." },
  { stored: /^model\.connector\./, canonical: "connector." },
  { stored: /^model\.text_model\./, canonical: "model." },
];

function familyOf({ language }: ModelSpec): LanguageFamily {
  const family = Object.values(LANGUAGES).find(({ architecture }) => architecture === language.architecture);
  if (family === undefined) throw new Error(`Idefics3 knows no language model ${language.architecture}`);
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
    copies: languageCopies(family, language),
  };
}
