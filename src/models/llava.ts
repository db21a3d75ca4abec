import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { clipVisualGraph } from "./parts/clip-graph.ts";
import { CLIP_NAMES, clipIgnored, clipUnused, clipWeights, projectorWeights } from "./parts/clip-weights.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { llamaConfig } from "./parts/llama-config.ts";
import { LLAMA_IGNORED, llamaWeights } from "./parts/llama-weights.ts";
import { readLlavaSpec } from "./parts/llava-spec.ts";
import type { ModelSpec } from "./spec.ts";

/** Everything mmtrt knows about LLaVA-1.5: CLIP up to a feature layer → two-layer projector → LLaMA with a prompt table. */
export default defineArchitecture({
  hf: ["LlavaForConditionalGeneration"],
  readSpec: (c: ConfigReader): ModelSpec => c.finish(readLlavaSpec(c)),
  weights: ({ language, vision, projector }) => ({
    names: [
      ...CLIP_NAMES,
      { stored: /^language_model\.model\./, canonical: "model." },
      { stored: /^language_model\.lm_head\./, canonical: "lm_head." },
      { stored: /^model\.language_model\./, canonical: "model." },
    ],
    language: llamaWeights(language),
    visual: vision && projector ? [...clipWeights(vision), ...projectorWeights(projector)] : [],
    ignore: [...LLAMA_IGNORED, ...(vision ? clipIgnored(vision) : [])],
    languagePrefix: "language_model.",
    unused: vision ? clipUnused(vision) : [],
    ...(language.tiedEmbeddings && { copies: [{ name: "lm_head.weight", of: "model.embed_tokens.weight" }] }),
  }),
  checkpointConfig: ({ language }, layout) => llamaConfig(language, layout),
  languageGraph: decoderGraph,
  visualGraph: clipVisualGraph,
});
