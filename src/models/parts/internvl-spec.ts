import type { VisualTokenRule } from "../../vision/index.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { ModelSpec, ProjectorSpec, VisionSpec } from "../spec.ts";
import { readCommonKeys, readDeclaredDtype, readSize, refuseQuantized } from "./common-keys.ts";
import { readImageToken, readMultimodalIds } from "./image-token.ts";
import { readFeatureChoice } from "./llava-spec.ts";
import { checkSequenceLength, checkTile, readImageProcessorKeys } from "./processor-keys.ts";
import { type LanguageFamilies, readFamily } from "./vision-language.ts";
import { patchesPerSide } from "./vit.ts";
import { readVision } from "./vit-spec.ts";

/** InternVLConfig: a `text_config` of one of `families`, InternViT, and a projector behind a pixel shuffle. */
export function readInternvlSpec(c: ConfigReader, families: LanguageFamilies): ModelSpec {
  readCommonKeys(c);
  refuseQuantized(c);
  const [text, vision] = [c.object("text_config"), c.object("vision_config")];
  const family = readFamily(text, families, { usual: "qwen2", whole: "InternVL" });
  const read = family.read(text, true);
  // Unlike most, InternVLConfig ties lm_head to the word table unless it says otherwise.
  const language = { ...read, tiedEmbeddings: c.boolean("tie_word_embeddings", true) || read.tiedEmbeddings };
  const tower = readVision(vision, c, readFeatureChoice(c, { layer: -1, dropClassToken: true }), ["internvl_vision"]);
  c.ignore("image_seq_length", "bos_token_id", "eos_token_id", "pad_token_id");
  const fold = readFold(c, tower);
  const features = tower.numVisualFeatures / fold ** 2;
  const imageTokenId = readImageToken(c, language, 151_667);
  return {
    architecture: "InternVLForConditionalGeneration",
    modelType: "internvl",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    vision: { ...tower, numVisualFeatures: features },
    projector: readProjector(c, tower, fold, language.hiddenSize),
    visualTokens: readTiles(c, tower, features),
    ...(imageTokenId !== undefined && { imageTokenId }),
    ...readMultimodalIds(c, text, { bos: 151_643, eos: 151_645 }),
  };
}

/** 1 ÷ downsample_ratio, a whole number that divides the grid of patches. */
function readFold(c: ConfigReader, tower: VisionSpec): number {
  const ratio = c.number("downsample_ratio", 0.5);
  const factor = Math.round(1 / ratio);
  const side = patchesPerSide(tower);
  if (ratio > 0 && 1 / factor === ratio && side % factor === 0) return factor;
  c.problem(
    "SPC006",
    "downsample_ratio",
    `is ${ratio}; expected one over a divisor of ${side}, the patches along an edge`,
    "so many patches become one visual feature",
    "give downsample_ratio as it was trained, 0.5 in published models",
  );
  return 1;
}

function readProjector(c: ConfigReader, tower: VisionSpec, fold: number, width: number): ProjectorSpec {
  return {
    ...{ kind: "shuffle_mlp2", fold, inputSize: tower.hiddenSize, hiddenSize: width, outputSize: width, bias: true },
    activation: c.choice("projector_hidden_act", ["gelu", "relu"], "gelu"),
  };
}

/** The processor cuts images whatever its file says of crop_to_patches: InternVLProcessor's default goes before it. */
function readTiles(c: ConfigReader, tower: VisionSpec, features: number): VisualTokenRule {
  const image = readImageProcessorKeys(c, "1 to 12 tiles, as the class does by default");
  const size = image.object("size");
  checkTile(size, "height", readSize(size.ignore("width"), "height", tower.imageSize), tower.imageSize);
  checkSequenceLength(c, "image_seq_length", features);
  return {
    kind: "aspect_ratio_tiles",
    tile: tower.imageSize,
    ...{ min_tiles: readSize(image, "min_patches", 1), max_tiles: readSize(image, "max_patches", 12) },
    ...{ features_per_tile: features, patches_per_tile: patchesPerSide(tower) ** 2 },
  };
}
