import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, ModelSpec, ProjectorSpec, VisionSpec } from "../spec.ts";
import { conflict, readCommonKeys, readDeclaredDtype, readTokenIds, refuseQuantized } from "./common-keys.ts";
import { readLlamaDecoder } from "./llama-spec.ts";
import { type FeatureChoice, readVision } from "./vit-spec.ts";

/** LlavaConfig's default: also what transformers writes when whoever made the model never chose an image token. */
const UNSET_IMAGE_TOKEN = 32_000;

const ACTIVATIONS: Readonly<Record<string, ProjectorSpec["activation"]>> = {
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  relu: "relu",
};

/** LlavaConfig: a LLaMA `text_config`, a CLIP `vision_config` and a two-layer projector between them. */
export function readLlavaSpec(c: ConfigReader): ModelSpec {
  readCommonKeys(c);
  refuseQuantized(c);
  const [text, vision] = [c.object("text_config"), c.object("vision_config")];
  text.only("model_type", ["llama"], "other language models inside LLaVA have tensors and numbers of their own");
  refuseQuantized(text);
  const language = withTie(c, readLlamaDecoder(text, true));
  const tower = readVision(vision, c, readFeatureChoice(c), ["clip_vision_model", "siglip_vision_model"]);
  // image_seq_length is the processor's hint, vocab_size and ignore_index are leftovers of training.
  c.ignore("image_seq_length", "vocab_size", "ignore_index", "pad_token_id", "bos_token_id", "eos_token_id");
  const imageTokenId = readImageToken(c, language);
  const id = (key: string): number | undefined => readTokenIds(text, key)[0] ?? readTokenIds(c, key)[0];
  const [bos, pad] = [id("bos_token_id"), id("pad_token_id")];
  const eos = [readTokenIds(text, "eos_token_id"), readTokenIds(c, "eos_token_id")].find(ids => ids.length > 0);
  return {
    architecture: "LlavaForConditionalGeneration",
    modelType: "llava",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    vision: tower,
    projector: readProjector(c, tower, language),
    ...(imageTokenId !== undefined && { imageTokenId }),
    bosTokenId: bos ?? 1,
    eosTokenIds: eos ?? [2],
    ...(pad !== undefined && { padTokenId: pad }),
  };
}

/** The flag counts wherever it stands: transformers writes it at the top, in text_config, or in both. */
function withTie(c: ConfigReader, language: DecoderSpec): DecoderSpec {
  return { ...language, tiedEmbeddings: c.boolean("tie_word_embeddings", false) || language.tiedEmbeddings };
}

function readFeatureChoice(c: ConfigReader): FeatureChoice {
  const strategy = c.choice("vision_feature_select_strategy", ["default", "full"], "default");
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
  return { layer: several ? -2 : c.signed("vision_feature_layer", -2), dropClassToken: strategy === "default" };
}

/** `image_token_index` (before 5) or `image_token_id`. */
function readImageToken(c: ConfigReader, language: DecoderSpec): number | undefined {
  const keys = ["image_token_index", "image_token_id"].filter(key => c.has(key));
  const [key = "image_token_index", other] = keys;
  const id = c.signed(key, UNSET_IMAGE_TOKEN);
  if (other !== undefined && c.signed(other) !== id) conflict(c, key, id, other, c.raw(other));
  if (id >= 0 && id < language.vocabSize) return id;
  const what = `is ${id}, but the vocabulary has ids 0…${language.vocabSize - 1}`;
  const fix = `give ${key} as the id of the image placeholder in the model's tokenizer`;
  if (id === UNSET_IMAGE_TOKEN) {
    c.warn(
      "SPC007",
      key,
      `${what}; taken as not set, for it is the class default`,
      "without the placeholder's id a prompt cannot say where the image goes",
      fix,
    );
    return undefined;
  }
  c.problem(
    "SPC007",
    key,
    what,
    "the placeholder stands in prompts, where every id must be a row of the embedding table",
    fix,
  );
  return undefined;
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
