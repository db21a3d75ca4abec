import { defineArchitecture, type ModelWeights } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { MISTRAL } from "./mistral.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { GPT2 } from "./parts/gpt2-decoder.ts";
import { type LanguageFamily, languageCopies } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlavaSpec } from "./parts/llava-spec.ts";
import { OPT } from "./parts/opt-decoder.ts";
import { PROJECTOR_NAMES } from "./parts/projector.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { TOWER_NAMES, towerIgnored, towerUnused } from "./parts/vit-weights.ts";
import { QWEN2 } from "./qwen2.ts";
import type { ModelSpec } from "./spec.ts";

/** By `text_config.model_type`. LLaVA-1.5 has LLaMA; the class takes any language model. */
const LANGUAGES: Readonly<Record<string, LanguageFamily>> = {
  llama: LLAMA,
  qwen2: QWEN2,
  mistral: MISTRAL,
  gpt2: GPT2,
  opt: OPT,
};

/** Everything mmtrt knows about LLaVA-1.5: CLIP up to a feature layer → two-layer projector → LLaMA with a prompt table. */
export default defineArchitecture({
  hf: ["LlavaForConditionalGeneration"],
  readSpec: (c: ConfigReader): ModelSpec => c.finish(readLlavaSpec(c, LANGUAGES)),
  weights: spec => weightsOf(spec),
  checkpointConfig: (spec, layout) => familyOf(spec).config(spec.language, layout),
  limits: spec => familyOf(spec).limits?.(spec.language) ?? {},
  languageGraph: decoderGraph,
  visualGraph,
});

function familyOf({ language }: ModelSpec): LanguageFamily {
  const family = Object.values(LANGUAGES).find(({ architecture }) => architecture === language.architecture);
  if (family === undefined) throw new Error(`LLaVA knows no language model ${language.architecture}`);
  return family;
}

function weightsOf(spec: ModelSpec): ModelWeights {
  const { language, vision } = spec;
  const family = familyOf(spec);
  return {
    names: [
      ...TOWER_NAMES,
      ...PROJECTOR_NAMES,
      // transformers 5 calls every language model's inner part `model`, GPT-2's `transformer` too.
      { stored: /^language_model\.model\./, canonical: family.base },
      { stored: /^language_model\./, canonical: "" },
      { stored: /^model\.language_model\./, canonical: family.base },
    ],
    language: family.weights(language),
    visual: visualWeights(spec),
    ignore: [...family.ignore, ...(vision ? towerIgnored(vision) : [])],
    languagePrefix: "language_model.",
    unused: vision ? towerUnused(vision) : [],
    copies: languageCopies(family, language),
  };
}
