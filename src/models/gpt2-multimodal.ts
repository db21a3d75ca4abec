import { defineArchitecture, type ModelWeights } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readCommonKeys, readDeclaredDtype, readSize, refuseQuantized } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { GPT2 } from "./parts/gpt2-decoder.ts";
import { readImageToken, readMultimodalIds } from "./parts/image-token.ts";
import { languageCopies } from "./parts/language.ts";
import { readFeatureChoice } from "./parts/llava-spec.ts";
import { readMmProjector } from "./parts/mm-projector.ts";
import { PROJECTOR_NAMES } from "./parts/projector.ts";
import { readQFormer } from "./parts/qformer.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { LAST_LAYER, readVision } from "./parts/vit-spec.ts";
import { TOWER_NAMES, towerIgnored, towerUnused } from "./parts/vit-weights.ts";
import { IMAGE_PLACEHOLDER, type ModelSpec, type QFormerSpec, type VisionSpec } from "./spec.ts";

/**
 * GPT-2 with a picture in front of the text. transformers has no class for it; docs/guide/gpt2-multimodal.md says what
 * the directory holds: GPT-2, one of the towers of LLaVA, VILA or BLIP-2, a projector between them.
 */
export default defineArchitecture({
  hf: ["GPT2MultimodalForConditionalGeneration"],
  readSpec: c => c.finish(readSpec(c)),
  weights,
  checkpointConfig: ({ language }, layout) => GPT2.config(language, layout),
  languageGraph: decoderGraph,
  visualGraph,
});

function readSpec(c: ConfigReader): ModelSpec {
  readCommonKeys(c);
  refuseQuantized(c);
  c.ignore("tie_word_embeddings", "image_seq_length");
  const text = c.object("text_config");
  text.only("model_type", ["gpt2"], "the language model of this class is GPT-2");
  const language = GPT2.read(text, true);
  const { tower, qformer } = readVisual(c);
  const features = qformer ? { ...tower, hiddenSize: qformer.hiddenSize, numVisualFeatures: qformer.queries } : tower;
  const projector = readMmProjector(c, features, language.hiddenSize);
  return {
    architecture: "GPT2MultimodalForConditionalGeneration",
    modelType: "gpt2_multimodal",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    vision: { ...tower, numVisualFeatures: projector.rows },
    ...(qformer && { qformer }),
    projector: projector.spec,
    imageTokenId: readImageToken(c, language) ?? IMAGE_PLACEHOLDER,
    prompt: { template: "{question}", imagesFirst: true },
    ...readMultimodalIds(c, text, { bos: 50_256, eos: 50_256 }),
  };
}

/** BLIP-2's tower is read to its end and goes through a Q-Former; the others give one layer's rows. */
function readVisual(c: ConfigReader): { readonly tower: VisionSpec; readonly qformer?: QFormerSpec } {
  const vision = c.object("vision_config");
  if (!c.has("qformer_config")) {
    c.ignore("qformer_config", "num_query_tokens");
    return {
      tower: readVision(vision, c, readFeatureChoice(c, { layer: -2, dropClassToken: true }), [
        "clip_vision_model",
        "siglip_vision_model",
      ]),
    };
  }
  c.only("mm_projector_type", ["linear", "mlp2x_gelu"], "queries are no grid of patches");
  const tower = readVision(vision, c, LAST_LAYER, ["blip_2_vision_model"]);
  return { tower, qformer: readQFormer(c.object("qformer_config"), readSize(c, "num_query_tokens", 32), tower) };
}

function weights(spec: ModelSpec): ModelWeights {
  const { language, vision } = spec;
  return {
    names: [
      ...TOWER_NAMES,
      ...PROJECTOR_NAMES,
      { stored: /^language_model\./, canonical: "" },
      { stored: /^model\.language_model\./, canonical: "transformer." },
    ],
    language: GPT2.weights(language),
    visual: visualWeights(spec),
    ignore: [...GPT2.ignore, ...(vision ? towerIgnored(vision) : [])],
    languagePrefix: "language_model.",
    unused: vision ? towerUnused(vision) : [],
    copies: languageCopies(GPT2, language),
  };
}
