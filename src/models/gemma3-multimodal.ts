import type { ConfigReader } from "./config-reader.ts";
import { GEMMA3 } from "./gemma3.ts";
import { readCommonKeys, readDeclaredDtype, readSize, refuseQuantized } from "./parts/common-keys.ts";
import { readImageToken, readMultimodalIds } from "./parts/image-token.ts";
import { PROJECTOR_NAMES } from "./parts/projector.ts";
import { visionLanguage } from "./parts/vision-language.ts";
import { patchesPerSide } from "./parts/vit.ts";
import { LAST_LAYER, readVision } from "./parts/vit-spec.ts";
import { TOWER_NAMES } from "./parts/vit-weights.ts";
import type { ModelSpec, VisionSpec } from "./spec.ts";

/**
 * Everything mmtrt knows about Gemma 3 with images: SigLIP, the mean of neighbouring patches, a norm, one product, Gemma 3 with a prompt
 * table. Tokens of an image see each other both ways.
 */
export default visionLanguage({
  hf: ["Gemma3ForConditionalGeneration"],
  families: { [GEMMA3.modelType]: GEMMA3 },
  readSpec: readGemma3Spec,
  names: ({ base }) => [
    ...TOWER_NAMES,
    ...PROJECTOR_NAMES,
    { stored: /^language_model\./, canonical: "" },
    { stored: /^model\.language_model\./, canonical: base },
  ],
  languagePrefix: "language_model.",
});

/** Gemma3Processor's words, which every tokenizer of Gemma 3 has. */
const [BEGIN, END] = ["<start_of_image>", "<end_of_image>"];

function readGemma3Spec(c: ConfigReader): ModelSpec {
  readCommonKeys(c);
  refuseQuantized(c);
  // The words of the ids about an image are known; the others are of the language model.
  c.ignore("boi_token_index", "eoi_token_index", "boi_token_id", "eoi_token_id", "pad_token_id", "vocab_size");
  const text = c.object("text_config");
  text.only("model_type", [GEMMA3.modelType], "the class has Gemma 3 as its language model");
  refuseQuantized(text);
  const read = GEMMA3.read(text, true);
  const language = { ...read, tiedEmbeddings: c.boolean("tie_word_embeddings", true) };
  const tower = readVision(c.object("vision_config"), c, LAST_LAYER, ["siglip_vision_model"], "siglip_normed");
  const features = readSize(c, "mm_tokens_per_image", 256);
  const imageTokenId = readImageToken(c, language, 262_144);
  return {
    architecture: "Gemma3ForConditionalGeneration",
    modelType: "gemma3",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language: { ...language, visualSpans: "image" },
    vision: { ...tower, numVisualFeatures: features },
    projector: {
      ...{ kind: "pool_linear", fold: poolOf(c, tower, features), normEps: tower.normEps, bias: false },
      ...{ inputSize: tower.hiddenSize, hiddenSize: language.hiddenSize, outputSize: language.hiddenSize },
      activation: "gelu",
    },
    visualTokens: { kind: "enclosed", features, patches: patchesPerSide(tower) ** 2, begin: BEGIN, end: END },
    ...(imageTokenId !== undefined && { imageTokenId }),
    prompt: { template: "<start_of_turn>user\n{images}{question}<end_of_turn>\n<start_of_turn>model\n" },
    ...readMultimodalIds(c, text, { bos: 2, eos: 1 }),
  };
}

/** Patches along each edge whose mean is one feature. */
function poolOf(c: ConfigReader, tower: VisionSpec, features: number): number {
  const [side, fewer] = [patchesPerSide(tower), Math.round(Math.sqrt(features))];
  if (fewer * fewer === features && side % fewer === 0) return side / fewer;
  c.problem(
    "SPC006",
    "mm_tokens_per_image",
    `is ${features}; expected the square of a divisor of ${side}, the patches along an edge`,
    "each feature is the mean of a square of patches",
    "give mm_tokens_per_image as it was trained, 256 in published models",
  );
  return 1;
}
