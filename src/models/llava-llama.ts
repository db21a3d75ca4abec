import { defineArchitecture, type ModelWeights, type NameRule } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readCommonKeys, readDeclaredDtype, refuseQuantized } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { readMultimodalIds } from "./parts/image-token.ts";
import { languageCopies } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readMmProjector } from "./parts/mm-projector.ts";
import { visualGraph, visualWeights } from "./parts/visual-graph.ts";
import { readVision } from "./parts/vit-spec.ts";
import { TOWER_NAMES, towerIgnored } from "./parts/vit-weights.ts";
import { type DecoderSpec, IMAGE_PLACEHOLDER, type ModelSpec, type ProjectorSpec, type VisionSpec } from "./spec.ts";

/**
 * Everything mmtrt knows about model_type llava_llama: LLaVA as its own repository saves it (the language model's keys
 * at the top, the vision tower elsewhere), and VILA, which grew out of it (llm/, vision_tower/, mm_projector/).
 */
export default defineArchitecture({
  hf: ["LlavaLlamaForCausalLM", "LlavaLlamaModel"],
  readSpec: c => c.finish(readSpec(c)),
  weights,
  checkpointConfig: ({ language }, layout) => LLAMA.config(language, layout),
  languageGraph: decoderGraph,
  visualGraph,
});

/** Vicuna's, which both were trained with. */
const PROMPT = {
  template:
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: {images}{question} ASSISTANT:",
  imageWord: "<image>",
};

const TOWERS = ["clip_vision_model", "siglip_vision_model"];

/** What training wrote down, and switches of training. */
const WITHOUT_EFFECT = [
  "architectures",
  "drop_path_rate",
  "freeze_mm_mlp_adapter",
  "freeze_mm_vision_resampler",
  "image_crop_resolution",
  "image_grid_pinpoints",
  "image_split_resolution",
  "interpolate_mode",
  "mm_projector_lr",
  "mm_vision_tower",
  "mm_vision_tower_lr",
  "model_dtype",
  "num_video_frames",
  "resume_path",
  "s2_max_split_size",
  "s2_scales",
  "tokenizer_model_max_length",
  "tokenizer_padding_side",
  "tune_language_model",
  "tune_mm_mlp_adapter",
  "tune_mm_projector",
  "tune_mm_vision_resampler",
  "tune_vision_tower",
  "unfreeze_mm_vision_tower",
  "use_mm_proj",
];

function readSpec(c: ConfigReader): ModelSpec {
  const isVila = c.has("llm_cfg");
  const text = isVila ? c.object("llm_cfg") : c;
  if (isVila) {
    readCommonKeys(c);
    text.only("model_type", ["llama"], "other language models inside VILA have tensors and numbers of their own");
    refuseQuantized(text);
  }
  refuseQuantized(c);
  c.ignore(...WITHOUT_EFFECT);
  refuseVariants(c);
  const language = LLAMA.read(text, false);
  if (isVila) readVilaLanguage(text, language);
  const tower = readTower(c);
  const projector = isVila ? c.object("mm_projector_cfg") : c;
  if (isVila) {
    readCommonKeys(projector);
    projector.ignore("tie_word_embeddings");
    same(c, "hidden_size", language.hiddenSize, "the language model's");
    c.only(
      "mm_projector_type",
      [projector.raw("mm_projector_type")],
      "mm_projector/config.json says another projector",
    );
  }
  same(c, "mm_hidden_size", tower.hiddenSize, "the vision tower's");
  const made = readMmProjector(projector, tower, language.hiddenSize);
  return {
    architecture: isVila ? "LlavaLlamaModel" : "LlavaLlamaForCausalLM",
    modelType: isVila ? "vila" : "llava_llama",
    declaredDtype: readDeclaredDtype(c) ?? readDeclaredDtype(text),
    language,
    vision: { ...tower, numVisualFeatures: made.rows },
    projector: made.spec,
    imageTokenId: IMAGE_PLACEHOLDER,
    prompt: PROMPT,
    ...readMultimodalIds(c, text, { bos: 1, eos: 2 }),
  };
}

/** What VILA's training wrote into llm/config.json. */
function readVilaLanguage(c: ConfigReader, { maxPositions }: DecoderSpec): void {
  c.ignore("tokenizer_model_max_length", "tokenizer_padding_side");
  const longest = c.signed("model_max_length", maxPositions);
  if (longest <= maxPositions || c.has("rope_scaling")) return;
  c.problem(
    "SPC004",
    "model_max_length",
    `is ${longest}, more than max_position_embeddings ${maxPositions}`,
    "VILA's own code then stretches the rotary angles by the ratio of the two, which config.json does not say",
    `add "rope_scaling": { "type": "linear", "factor": ${Math.ceil(longest / maxPositions)}.0 }`,
  );
}

/** Extensions that compute something else than one tower and one projector. */
function refuseVariants(c: ConfigReader): void {
  c.only("s2", [false], "the tower would see each picture at several sizes");
  c.only("mm_use_im_start_end", [false], "two more tokens would stand around each image");
  c.ignore("mm_use_im_patch_token");
  c.only("mm_resampler_type", [null], "features would go through a resampler");
  c.only("mm_patch_merge_type", ["flat"], "features of several tiles would be put together");
  c.only("image_aspect_ratio", ["square", "pad", "resize"], "a picture would be cut into tiles (LLaVA-NeXT)");
}

function readTower(c: ConfigReader): VisionSpec {
  if (!c.has("vision_tower_cfg")) {
    c.problem(
      "SPC001",
      "vision_tower_cfg",
      "is missing: the config of the vision tower is read from the tower's own directory",
      "the image encoder's sizes are in no other place",
      "convert from the original directory, with --vision_tower_dir",
    );
  }
  const vision = c.object("vision_tower_cfg");
  const feature = c.choice("mm_vision_select_feature", ["patch", "cls_patch"], "patch");
  const layer = { layer: c.signed("mm_vision_select_layer", -2), dropClassToken: feature === "patch" };
  const tower = readVision(vision, c, { ...layer, key: "mm_vision_select_layer" }, TOWERS);
  const resolution = c.signed("vision_resolution", -1);
  if (resolution !== -1 && resolution !== tower.imageSize) {
    c.problem(
      "SPC004",
      "vision_resolution",
      `is ${resolution}; supported: -1 and the tower's image_size ${tower.imageSize}`,
      "the tower's positions would be interpolated to another picture size when it is loaded",
      "convert a checkpoint that sees pictures at its tower's own size",
    );
  }
  return tower;
}

function same(c: ConfigReader, key: string, size: number, whose: string): void {
  if (!c.has(key) || c.integer(key) === size) return void c.ignore(key);
  c.problem(
    "SPC005",
    key,
    `is ${c.raw(key)}, but ${whose} is ${size}`,
    "the projector's shape follows from it",
    `use the config.json that belongs to these weights`,
  );
}

function weights(spec: ModelSpec): ModelWeights {
  const { language, vision, projector } = spec;
  return {
    names: [
      { stored: /^llm\./, canonical: "" },
      {
        stored: /^model\.vision_tower\.vision_tower\.(?:vision_model\.)?(?=embeddings|encoder|pre_|post_|head)/,
        canonical: "vision_tower.vision_model.",
      },
      ...TOWER_NAMES,
      ...(projector ? projectorNames(projector) : []),
      ...LLAMA.names,
    ],
    language: LLAMA.weights(language),
    visual: visualWeights(spec),
    ignore: [...LLAMA.ignore, ...(vision ? towerIgnored(vision) : [])],
    copies: languageCopies(LLAMA, language),
  };
}

/** nn.Sequential counts activations too: products are 0, 2, 4…; after mlp_downsample's fold and norm 2, 4. */
function projectorNames({ kind, depth = 1 }: ProjectorSpec): NameRule[] {
  const at = (position: string): RegExp =>
    new RegExp(`^(?:model\\.)?mm_projector\\.(?:layers\\.)?${position}\\.?(?=(?:weight|bias)$)`);
  const to = (name: string): string => `multi_modal_projector.${name}.`;
  if (kind === "mlp_downsample") {
    return ["norm", "linear_1", "", "linear_2"].flatMap((name, i) =>
      name === "" ? [] : [{ stored: at(String(i + 1)), canonical: to(name) }],
    );
  }
  const layers = Array.from({ length: depth }, (_, i) => ({
    stored: at(String(2 * i)),
    canonical: to(`linear_${i + 1}`),
  }));
  return [{ stored: at(""), canonical: to("linear_1") }, ...layers];
}
