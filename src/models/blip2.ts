import { defineArchitecture, type ModelWeights } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readDeclaredDtype, readSharedKeys, readSize, refuseQuantized } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { encoderDecoderLimits, stackConfig } from "./parts/encoder-decoder-config.ts";
import { crossGraph, encoderDecoderGraph, encoderGraph } from "./parts/encoder-decoder-graph.ts";
import { readImageToken, readMultimodalIds } from "./parts/image-token.ts";
import { type LanguageFamily, languageCopies } from "./parts/language.ts";
import { OPT } from "./parts/opt-decoder.ts";
import { readQFormer } from "./parts/qformer.ts";
import { readT5 } from "./parts/t5-spec.ts";
import { t5Known, t5Weights } from "./parts/t5-weights.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { LAST_LAYER, readVision } from "./parts/vit-spec.ts";
import { towerIgnored } from "./parts/vit-weights.ts";
import { type DecoderSpec, IMAGE_PLACEHOLDER, type ModelSpec } from "./spec.ts";

/** By `text_config.model_type`; each family brings its own reading, weights and TensorRT-LLM config. */
const LANGUAGES: Readonly<Record<string, LanguageFamily>> = { opt: OPT };

/**
 * Everything mmtrt knows about BLIP-2: EVA ViT-g → Q-Former's queries → one projection → a language model: a decoder, or
 * T5, whose encoder takes the features.
 */
export default defineArchitecture({
  hf: ["Blip2ForConditionalGeneration"],
  readSpec,
  weights,
  checkpointConfig: (spec, layout) =>
    spec.encoderDecoder
      ? stackConfig(spec, layout, "decoder", "t5", "blip2")
      : familyOf(spec).config(spec.language, layout),
  encoderConfig: (spec, layout) => stackConfig(spec, layout, "encoder", "t5", "blip2"),
  limits: spec => (spec.encoderDecoder ? encoderDecoderLimits() : (familyOf(spec).limits?.(spec.language) ?? {})),
  languageGraph: (spec, options) => (spec.encoderDecoder ? encoderDecoderGraph : decoderGraph)(spec, options),
  encoderGraph,
  crossGraph,
  visualGraph,
});

function familyOf({ language }: ModelSpec): LanguageFamily {
  const family = Object.values(LANGUAGES).find(({ architecture }) => architecture === language.architecture);
  if (family === undefined) throw new Error(`BLIP-2 knows no language model ${language.architecture}`);
  return family;
}

function readSpec(c: ConfigReader): ModelSpec {
  readSharedKeys(c);
  refuseQuantized(c);
  const [text, vision, queries] = [c.object("text_config"), c.object("vision_config"), c.object("qformer_config")];
  const types = [...Object.keys(LANGUAGES), "t5"];
  text.only("model_type", types, "other language models inside BLIP-2 have tensors and numbers of their own");
  refuseQuantized(text);
  const isT5 = text.raw("model_type") === "t5";
  c.only("is_encoder_decoder", [isT5], "the language model's class says whether it has an encoder");
  c.only("is_decoder", [false], "an image encoder comes first");
  c.only("add_cross_attention", [false], "the Q-Former's output stands among the word embeddings");
  c.only("cross_attention_hidden_size", [null], "the Q-Former's output stands among the word embeddings");
  const { language, encoderDecoder } = isT5
    ? readT5(text, true)
    : { language: readDecoder(text), encoderDecoder: undefined };
  if (language.embeddingSize !== undefined) {
    text.problem(
      "SPC006",
      "word_embed_proj_dim",
      `is ${language.embeddingSize}, not hidden_size ${language.hiddenSize}`,
      "visual features are hidden_size wide and stand among the word embeddings, which then have another width",
      "give word_embed_proj_dim as hidden_size; no published BLIP-2 has another",
    );
  }
  const tower = readVision(vision, c, LAST_LAYER, ["blip_2_vision_model"]);
  const qformer = readQFormer(queries, readSize(c, "num_query_tokens", 32), tower);
  // The last three are for image-text retrieval, training and the other kind of language model.
  c.ignore("image_text_hidden_size", "use_decoder_only_language_model", "tie_word_embeddings");
  const imageTokenId = readImageToken(c, language);
  return c.finish({
    architecture: "Blip2ForConditionalGeneration",
    modelType: "blip-2",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    ...(encoderDecoder && { encoderDecoder }),
    vision: { ...tower, numVisualFeatures: qformer.queries },
    qformer,
    projector: {
      kind: "linear",
      inputSize: qformer.hiddenSize,
      hiddenSize: language.hiddenSize,
      outputSize: language.hiddenSize,
      activation: "gelu",
      bias: true,
    },
    // Before transformers 4.46 there was no image token: features were put before the ids.
    imageTokenId: imageTokenId ?? IMAGE_PLACEHOLDER,
    prompt: { template: "Question: {question} Answer:", imagesFirst: true },
    ...readMultimodalIds(c, text, isT5 ? { bos: 0, eos: 1 } : { bos: 2, eos: 2 }),
  });
}

function readDecoder(text: ConfigReader): DecoderSpec {
  const type = text.raw("model_type");
  const family = LANGUAGES[Object.keys(LANGUAGES).find(known => known === type) ?? "opt"] ?? OPT;
  return family.read(text, true);
}

function weights(spec: ModelSpec): ModelWeights {
  const { vision } = spec;
  const text = spec.encoderDecoder ? { ...t5Weights(spec), ...t5Known(spec) } : decoderWeights(spec);
  return {
    names: [
      { stored: /^(?:model\.)?language_model\./, canonical: "" },
      { stored: /^model\.(vision_model|qformer|query_tokens|language_projection)/, canonical: "$1" },
    ],
    ...text,
    visual: visualWeights(spec),
    ignore: [/^qformer\.embeddings\.position_ids$/, ...text.ignore, ...(vision ? towerIgnored(vision) : [])],
    languagePrefix: "language_model.",
  };
}

function decoderWeights(spec: ModelSpec): Pick<ModelWeights, "language" | "copies" | "ignore"> {
  const family = familyOf(spec);
  const { language } = spec;
  return { language: family.weights(language), copies: languageCopies(family, language), ignore: family.ignore };
}
