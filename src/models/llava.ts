import { defineArchitecture, type ModelWeights } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { languageCopies } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlavaSpec } from "./parts/llava-spec.ts";
import { PROJECTOR_NAMES } from "./parts/projector.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { TOWER_NAMES, towerIgnored, towerUnused } from "./parts/vit-weights.ts";
import type { ModelSpec } from "./spec.ts";

/** Everything mmtrt knows about LLaVA-1.5: CLIP up to a feature layer → two-layer projector → LLaMA with a prompt table. */
export default defineArchitecture({
  hf: ["LlavaForConditionalGeneration"],
  readSpec: (c: ConfigReader): ModelSpec => c.finish(readLlavaSpec(c)),
  weights: spec => weightsOf(spec),
  checkpointConfig: ({ language }, layout) => LLAMA.config(language, layout),
  languageGraph: decoderGraph,
  visualGraph,
});

function weightsOf(spec: ModelSpec): ModelWeights {
  const { language, vision } = spec;
  return {
    names: [
      ...TOWER_NAMES,
      ...PROJECTOR_NAMES,
      { stored: /^language_model\.model\./, canonical: "model." },
      { stored: /^language_model\.lm_head\./, canonical: "lm_head." },
      { stored: /^model\.language_model\./, canonical: "model." },
    ],
    language: LLAMA.weights(language),
    visual: visualWeights(spec),
    ignore: [...LLAMA.ignore, ...(vision ? towerIgnored(vision) : [])],
    languagePrefix: "language_model.",
    unused: vision ? towerUnused(vision) : [],
    copies: languageCopies(LLAMA, language),
  };
}
