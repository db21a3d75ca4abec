import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, ModelSpec, ProjectorSpec, VisionSpec } from "../spec.ts";
import { readCommonKeys, readDeclaredDtype, refuseQuantized } from "./common-keys.ts";
import { readImageToken, readMultimodalIds } from "./image-token.ts";
import { type LanguageFamilies, readFamily } from "./vision-language.ts";
import { type FeatureChoice, readVision } from "./vit-spec.ts";

/** LlavaConfig's default: also what transformers writes when whoever made the model never chose an image token. */
const UNSET_IMAGE_TOKEN = 32_000;

const ACTIVATIONS: Readonly<Record<string, ProjectorSpec["activation"]>> = {
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  relu: "relu",
};

/** What tells the classes of LLaVA's kind apart, with their configs' defaults. */
export interface LlavaFamily {
  readonly architecture: string;
  readonly modelType: string;
  /** For messages. */
  readonly whole: string;
  /** `model_type` of the language model. */
  readonly text: string;
  /** Towers it may have, the usual one first. */
  readonly towers: readonly string[];
  readonly feature: Pick<FeatureChoice, "layer" | "dropClassToken">;
  readonly imageToken: number;
  readonly ids: { readonly bos: number; readonly eos: number };
}

const LLAVA: LlavaFamily = {
  ...{ architecture: "LlavaForConditionalGeneration", modelType: "llava", whole: "LLaVA", text: "llama" },
  towers: ["clip_vision_model", "siglip_vision_model"],
  feature: { layer: -2, dropClassToken: true },
  imageToken: UNSET_IMAGE_TOKEN,
  ids: { bos: 1, eos: 2 },
};

/** A `text_config` of one of `families`, a `vision_config` and a two-layer projector between them. */
export function readLlavaSpec(
  c: ConfigReader,
  families: LanguageFamilies,
  { feature, towers, ...kind }: LlavaFamily = LLAVA,
): ModelSpec & { readonly vision: VisionSpec } {
  readCommonKeys(c);
  refuseQuantized(c);
  const [text, vision] = [c.object("text_config"), c.object("vision_config")];
  const family = readFamily(text, families, { usual: kind.text, whole: kind.whole });
  const language = withTie(c, family.read(text, true));
  const tower = readVision(vision, c, readFeatureChoice(c, feature), towers);
  // image_seq_length is the processor's hint, vocab_size and ignore_index are leftovers of training.
  c.ignore("image_seq_length", "vocab_size", "ignore_index", "pad_token_id", "bos_token_id", "eos_token_id");
  const imageTokenId = readImageToken(c, language, kind.imageToken);
  return {
    architecture: kind.architecture,
    modelType: kind.modelType,
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    vision: tower,
    projector: readProjector(c, tower, language),
    ...(imageTokenId !== undefined && { imageTokenId }),
    ...readMultimodalIds(c, text, kind.ids),
  };
}

/** The flag counts wherever it stands: transformers writes it at the top, in text_config, or in both. */
function withTie(c: ConfigReader, language: DecoderSpec): DecoderSpec {
  return { ...language, tiedEmbeddings: c.boolean("tie_word_embeddings", false) || language.tiedEmbeddings };
}

/** `vision_feature_layer` and `vision_feature_select_strategy`; `usual` where they are not set. */
export function readFeatureChoice(
  c: ConfigReader,
  usual: Pick<FeatureChoice, "layer" | "dropClassToken">,
): FeatureChoice {
  const fallback = usual.dropClassToken ? "default" : "full";
  const strategy = c.choice("vision_feature_select_strategy", ["default", "full"], fallback);
  const several = Array.isArray(c.raw("vision_feature_layer"));
  if (several) {
    c.problem(
      "SPC004",
      "vision_feature_layer",
      "is a list of layers; supported: one layer",
      "features of several layers side by side need a wider projector than is built here",
      "convert a checkpoint that takes its features from one layer",
    );
  }
  return {
    layer: several ? usual.layer : c.signed("vision_feature_layer", usual.layer),
    dropClassToken: strategy === "default",
  };
}

function readProjector(c: ConfigReader, vision: VisionSpec, language: DecoderSpec): ProjectorSpec {
  return {
    kind: "mlp2",
    inputSize: vision.hiddenSize,
    hiddenSize: language.hiddenSize,
    outputSize: language.hiddenSize,
    activation: ACTIVATIONS[c.choice("projector_hidden_act", Object.keys(ACTIVATIONS), "gelu")] ?? "gelu",
    bias: c.boolean("multimodal_projector_bias", true),
  };
}
