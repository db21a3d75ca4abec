import type { PatchesRule } from "../../vision/index.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { DecoderSpec, ModelSpec, PackedVisionSpec } from "../spec.ts";
import { readCommonKeys, readDeclaredDtype, readSize, refuseQuantized } from "./common-keys.ts";
import { readImageToken, readMultimodalIds } from "./image-token.ts";
import type { LanguageFamily } from "./language.ts";
import { readImageProcessorKeys } from "./processor-keys.ts";

/** What tells one of Qwen's vision-language models from the others when its config is read. */
export interface QwenVl {
  /** Class, and `model_type`; the nested configs' are this with an ending. */
  readonly architecture: string;
  readonly modelType: string;
  readonly language: LanguageFamily;
  readTower(c: ConfigReader): PackedVisionSpec;
  /** Pixels that the class's image processor makes of the smallest and of the largest image. */
  readonly pixels: readonly [number, number];
}

/** Ids that prompts have about images; the words are known. Videos take no part. */
const WORDS_ABOUT = ["video_token_id", "vision_start_token_id", "vision_end_token_id", "vision_token_id"];

/** Of the language model, beside `text_config` where transformers 4 kept both: it reads the nested ones. */
const REPEATED = [
  ...["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"],
  ...["num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps"],
  ...["rope_theta", "rope_scaling", "rope_parameters", "layer_types", "attention_bias"],
  ...["use_sliding_window", "sliding_window", "max_window_layers", "bos_token_id", "eos_token_id", "pad_token_id"],
];

/** A Qwen2VLConfig or one of its successors: the language model's keys in `text_config`, or at the top as until transformers 4.52. */
export function readQwenVlSpec(c: ConfigReader, model: QwenVl): ModelSpec {
  const { architecture, modelType } = model;
  readCommonKeys(c);
  refuseQuantized(c);
  c.ignore(...WORDS_ABOUT, "tokenizer_class");
  const { text, language } = readLanguage(c, model);
  const vision = c.object("vision_config");
  const tower = model.readTower(vision);
  if (c.sound && tower.outputSize !== language.hiddenSize) misfit(vision, tower, language);
  if (c.sound && (tower.deepstackLayers?.length ?? 0) > language.layers) tooDeep(vision, language);
  const imageTokenId = readImageToken(c, language, 151_655);
  const levels = tower.deepstackLayers?.length ?? 0;
  return {
    architecture,
    modelType,
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language: { ...language, ...(levels > 0 && { deepstackLevels: levels }) },
    packedVision: tower,
    visualTokens: readPatches(c, tower, model.pixels),
    ...(imageTokenId !== undefined && { imageTokenId }),
    prompt: { template: TEMPLATE, picture: "<|vision_start|>{image}<|vision_end|>" },
    ...readMultimodalIds(c, text, { bos: 151_643, eos: 151_645 }),
  };
}

/** Of the published chat template, for one question. */
const TEMPLATE =
  "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" +
  "<|im_start|>user\n{images}{question}<|im_end|>\n<|im_start|>assistant\n";

function readLanguage(
  c: ConfigReader,
  { language: family, modelType }: QwenVl,
): { readonly text: ConfigReader; readonly language: DecoderSpec } {
  const nested = c.has("text_config");
  if (!nested) c.ignore("text_config");
  const text = nested ? c.object("text_config") : c;
  if (nested) {
    c.ignore(...REPEATED);
    text.only("model_type", [`${modelType}_text`, modelType], "the class has one language model");
    text.ignore(...WORDS_ABOUT, "image_token_id", "vision_config", "text_config");
    refuseQuantized(text);
  }
  const language = family.read(text, true);
  const tied = nested && c.boolean("tie_word_embeddings", false);
  return { text, language: { ...language, tiedEmbeddings: tied || language.tiedEmbeddings } };
}

/** How large images become. What the processor says of patches must be what the encoder was made for. */
function readPatches(c: ConfigReader, tower: PackedVisionSpec, [least, most]: QwenVl["pixels"]): PatchesRule {
  const image = readImageProcessorKeys(c, `patches of ${least} to ${most} pixels, as the class does by default`);
  const size = image.object("size");
  size.ignore("min_pixels", "max_pixels");
  const pixels = (own: string, edge: string, usual: number): number =>
    readSize(image, own, readSize(size, edge, usual));
  for (const [key, value] of [
    ["patch_size", tower.patchSize],
    ["temporal_patch_size", tower.temporalPatchSize],
    ["merge_size", tower.mergeSize],
  ] as const) {
    if (readSize(image, key, value) !== value) otherPatches(image, key, value);
  }
  const { windows, tableSide, patchSize: patch, mergeSize: merge } = tower;
  const rule: PatchesRule = {
    kind: "patches",
    ...{ patch, merge, temporal_patch: tower.temporalPatchSize },
    min_pixels: pixels("min_pixels", "shortest_edge", least),
    max_pixels: pixels("max_pixels", "longest_edge", most),
    ...(windows && { window: windows.edge * patch * merge }),
    ...(tableSide !== undefined && { table_side: tableSide }),
  };
  return checkedPixels(image, rule);
}

/** 4096 × 4096, the most that a published processor makes; rules in files are held to it. */
const MOST_PIXELS = 4096 ** 2;

function checkedPixels(image: ConfigReader, rule: PatchesRule): PatchesRule {
  const least = Math.max(rule.min_pixels, (rule.patch * rule.merge) ** 2);
  if (rule.max_pixels >= least && rule.max_pixels <= MOST_PIXELS) return rule;
  // What no number can be has its own message.
  if (!image.sound) return { ...rule, min_pixels: 1, max_pixels: MOST_PIXELS };
  image.problem(
    "SPC006",
    "max_pixels",
    `is ${rule.max_pixels}; expected ${least} (min_pixels, and a feature's) to ${MOST_PIXELS}`,
    "an image is resized until its pixels are within the limits, and its patches see each other",
    "use the preprocessor_config.json that belongs to these weights, or a smaller limit",
  );
  return { ...rule, min_pixels: 1, max_pixels: MOST_PIXELS };
}

function otherPatches(image: ConfigReader, key: string, value: number): void {
  image.problem(
    "SPC005",
    key,
    `is ${JSON.stringify(image.raw(key))}, but vision_config says ${value}`,
    "the encoder was trained with patches of one form",
    "use the preprocessor_config.json that belongs to these weights",
  );
}

function misfit(vision: ConfigReader, { kind, outputSize }: PackedVisionSpec, { hiddenSize }: DecoderSpec): void {
  const key = kind === "qwen2_vl" ? "hidden_size" : "out_hidden_size";
  vision.problem(
    "SPC006",
    key,
    `is ${outputSize}, but the language model's hidden_size is ${hiddenSize}`,
    "visual features stand among the word embeddings, so both have one width",
    `give ${key} as ${hiddenSize}`,
  );
}

function tooDeep(vision: ConfigReader, { layers }: DecoderSpec): void {
  vision.problem(
    "SPC006",
    "deepstack_visual_indexes",
    `has more entries than the language model's ${layers} layers`,
    "what each gives is added behind one of the first layers of the language model",
    "give num_hidden_layers and deepstack_visual_indexes as they were trained",
  );
}
