import type { VisualTokenRule } from "../../vision/index.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, ModelSpec, ProjectorSpec, VisionSpec } from "../spec.ts";
import { readCommonKeys, readDeclaredDtype, readSize, refuseQuantized } from "./common-keys.ts";
import { readImageToken, readMultimodalIds } from "./image-token.ts";
import type { LanguageFamily } from "./language.ts";
import { checkSequenceLength, checkTile, readImageProcessorKeys } from "./processor-keys.ts";
import { type LanguageFamilies, readFamily } from "./vision-language.ts";
import { patchesPerSide } from "./vit.ts";
import { LAST_LAYER, readVision } from "./vit-spec.ts";

/** What the tower is called, by transformers' versions, for SmolVLM, and in files of SmolVLM's own training. */
const TOWER_TYPES = ["idefics3_vision", "idefics3", "smolvlm_vision", "smolvlm", "siglip_vision_model"];

/** What training wrote into text_config; transformers reads none of it. */
const TRAINING = ["is_llama_config", "neftune_noise_alpha", "perceiver_config", "transformers.js_config"];

/** Idefics3Config and SmolVLMConfig: a `text_config` of one of `families`, a tower, and one product behind a pixel shuffle. */
export function readIdefics3Spec(c: ConfigReader, families: LanguageFamilies): ModelSpec {
  readCommonKeys(c);
  refuseQuantized(c);
  c.ignore("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "transformers.js_config");
  const text = c.object("text_config");
  const { family, language } = readLanguage(c, text, families);
  const tower = readVision(c.object("vision_config"), c, LAST_LAYER, TOWER_TYPES, "idefics3_vision");
  const fold = readFold(c, tower);
  const features = tower.numVisualFeatures / fold ** 2;
  const imageTokenId = readImageToken(c, language, 128_257);
  const isSmol = c.raw("model_type") === "smolvlm";
  return {
    architecture: isSmol ? "SmolVLMForConditionalGeneration" : "Idefics3ForConditionalGeneration",
    modelType: isSmol ? "smolvlm" : "idefics3",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language: { ...language, architecture: family.architecture },
    vision: { ...tower, numVisualFeatures: features },
    projector: projectorOf(tower, language, fold),
    visualTokens: readTiles(c, tower, features),
    ...(imageTokenId !== undefined && { imageTokenId }),
    prompt: { template: "<|im_start|>User:{images}{question}<end_of_utterance>\nAssistant:" },
    ...readMultimodalIds(c, text, { bos: 1, eos: 2 }),
  };
}

function readLanguage(
  c: ConfigReader,
  text: ConfigReader,
  families: LanguageFamilies,
): { readonly family: LanguageFamily; readonly language: DecoderSpec } {
  text.ignore(...TRAINING, "pixel_shuffle_factor");
  for (const key of ["qk_layer_norms", "use_resampler", "rope_interleaved"])
    text.only(key, [false], "transformers computes the model without it, so its weights would be left over");
  const family = readFamily(text, families, { usual: "llama", whole: "Idefics3" });
  const language = family.read(text, true);
  return {
    family,
    language: { ...language, tiedEmbeddings: c.boolean("tie_word_embeddings", false) || language.tiedEmbeddings },
  };
}

/** Patches along each edge that become one visual feature. */
function readFold(c: ConfigReader, tower: VisionSpec): number {
  const factor = readSize(c, "scale_factor", 2);
  const side = patchesPerSide(tower);
  if (side % factor === 0) return factor;
  c.problem(
    "SPC006",
    "scale_factor",
    `is ${factor}, which does not divide ${side}, the patches along an edge of a tile`,
    "scale_factor × scale_factor patches become one visual feature",
    "give scale_factor as it was trained: 2, 3 or 4 in published models",
  );
  return 1;
}

function projectorOf(tower: VisionSpec, { hiddenSize }: DecoderSpec, fold: number): ProjectorSpec {
  const sizes = { inputSize: tower.hiddenSize, hiddenSize, outputSize: hiddenSize };
  return { kind: "shuffle_linear", fold, ...sizes, activation: "gelu", bias: false };
}

/** How the processor cuts images. Its defaults are for one size of tower, so without its file they are four times this one's. */
function readTiles(c: ConfigReader, { imageSize, patchSize }: VisionSpec, features: number): VisualTokenRule {
  const image = readImageProcessorKeys(c, `tiles of ${imageSize}, four along the longest edge`);
  const edge = (key: string, fallback: number): number => readSize(image.object(key), "longest_edge", fallback);
  const tile = edge("max_image_size", imageSize);
  checkTile(image, "max_image_size", tile, imageSize);
  checkSequenceLength(c, "image_seq_len", features);
  return {
    kind: "longest_edge_tiles",
    longest_edge: edge("size", 4 * imageSize),
    tile,
    splits: image.boolean("do_image_splitting", true),
    features_per_tile: features,
    patches_per_tile: Math.floor(imageSize / patchSize) ** 2,
  };
}
