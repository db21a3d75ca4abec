import type { ConfigReader } from "./config-reader.ts";
import { GEMMA, readGemma1Decoder } from "./gemma.ts";
import { GEMMA2, readGemma2Decoder } from "./gemma2.ts";
import { conflict, readCommonKeys, readDeclaredDtype, readSize, refuseQuantized } from "./parts/common-keys.ts";
import { readImageToken, readMultimodalIds } from "./parts/image-token.ts";
import { PROJECTOR_NAMES } from "./parts/projector.ts";
import { type LanguageFamilies, readFamily, visionLanguage } from "./parts/vision-language.ts";
import { LAST_LAYER, readVision } from "./parts/vit-spec.ts";
import { TOWER_NAMES } from "./parts/vit-weights.ts";
import type { DecoderSpec, ModelSpec, VisionSpec } from "./spec.ts";

/** By `text_config.model_type`: PaliGemma's and PaliGemma 2's. */
const LANGUAGES: LanguageFamilies = {
  gemma: { ...GEMMA, read: (c, nested) => readGemma1Decoder(c, nested, true) },
  gemma2: { ...GEMMA2, read: (c, nested) => readGemma2Decoder(c, nested, true) },
};

/** The image token's id where config.json does not say, which is no id of a smaller vocabulary. */
const UNSET_IMAGE_TOKEN = 256_000;

/**
 * Everything mmtrt knows about PaliGemma: SigLIP, one product, Gemma or Gemma 2 with a prompt table. All tokens of a prompt, an image's and
 * the words', see each other both ways; those of the answer see what is before them.
 */
export default visionLanguage({
  hf: ["PaliGemmaForConditionalGeneration"],
  families: LANGUAGES,
  readSpec: readPaliGemmaSpec,
  names: ({ base }) => [
    ...TOWER_NAMES,
    ...PROJECTOR_NAMES,
    { stored: /^language_model\./, canonical: "" },
    { stored: /^model\.language_model\./, canonical: base },
  ],
  languagePrefix: "language_model.",
});

function readPaliGemmaSpec(c: ConfigReader): ModelSpec {
  readCommonKeys(c);
  refuseQuantized(c);
  // The language model's own sizes count. num_hidden_layers stood there for transformers' generation.
  c.ignore("vocab_size", "hidden_size", "num_hidden_layers", "ignore_index", "pad_token_id");
  c.ignore("bos_token_id", "eos_token_id");
  const text = c.object("text_config");
  text.ignore("num_image_tokens");
  const family = readFamily(text, LANGUAGES, { usual: "gemma", whole: "PaliGemma" });
  // The class takes logits off the head as they are: a cap that Gemma 2 has on them is not PaliGemma 2's.
  const { logitCap: _, ...decoder } = family.read(text, true);
  const language: DecoderSpec = {
    ...decoder,
    ...{ tiedEmbeddings: c.boolean("tie_word_embeddings", true), visualSpans: "prompt" },
  };
  const vision = readTower(c);
  const imageTokenId = readImageToken(c, language, UNSET_IMAGE_TOKEN);
  const width = readSize(c, "projection_dim", language.hiddenSize);
  if (c.sound && width !== language.hiddenSize)
    conflict(c, "projection_dim", width, "text_config.hidden_size", language.hiddenSize);
  return {
    architecture: "PaliGemmaForConditionalGeneration",
    modelType: "paligemma",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    vision,
    projector: {
      ...{ kind: "linear", name: "multi_modal_projector.linear", bias: true, activation: "gelu" },
      ...{ inputSize: vision.hiddenSize, hiddenSize: language.hiddenSize, outputSize: language.hiddenSize },
    },
    ...(imageTokenId !== undefined && { imageTokenId }),
    // The line break ends the prompt; what stands between is asked in the model's own few words ("caption en", "detect cat").
    prompt: { template: "<bos>{question}\n", imagesFirst: true },
    ...readMultimodalIds(c, text, { bos: 2, eos: 1 }),
  };
}

function readTower(c: ConfigReader): VisionSpec {
  const vision = c.object("vision_config");
  // What published files say of SigLIP beside its own keys; transformers reads none of it here.
  vision.ignore("num_positions", "projector_hidden_act");
  return readVision(vision, c, LAST_LAYER, ["siglip_vision_model"], "siglip_normed");
}
