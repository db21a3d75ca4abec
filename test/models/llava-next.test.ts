import { describe, expect, it } from "vitest";
import llavaNext from "../../src/models/llava-next.ts";
import llavaOnevision from "../../src/models/llava-onevision.ts";
import { readModel } from "../../src/models/registry.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { clipTensors, llamaTensors } from "./names.ts";

const text = llamaTensors({ hidden: 24, q: 24, kv: 12, intermediate: 44, vocab: 19, layers: 2 });
const prefixed = Object.fromEntries(Object.entries(text).map(([name, shape]) => [`language_model.${name}`, shape]));
const clip = clipTensors({ hidden: 20, intermediate: 28, layers: 4, patch: 7, positions: 17, llm: 24 });

const LANGUAGE = {
  ...{ hidden_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 44, vocab_size: 19 },
};
const TOWER = {
  ...{ hidden_size: 20, num_hidden_layers: 4, num_attention_heads: 5, intermediate_size: 28 },
  ...{ image_size: 29, patch_size: 7 },
};

const next = {
  architectures: ["LlavaNextForConditionalGeneration"],
  model_type: "llava_next",
  text_config: { ...LANGUAGE, model_type: "mistral", sliding_window: null },
  vision_config: { ...TOWER, model_type: "clip_vision_model" },
  ...{ image_token_index: 18, vision_feature_layer: -3, use_image_newline_parameter: true },
  image_grid_pinpoints: [
    [29, 58],
    [87, 29],
  ],
};

const onevision = {
  ...{ ...next, architectures: ["LlavaOnevisionForConditionalGeneration"], model_type: "llava_onevision" },
  text_config: { ...LANGUAGE, model_type: "qwen2" },
  vision_config: { ...TOWER, model_type: "siglip_vision_model", vision_use_head: false },
  ...{ vision_feature_layer: -1, video_token_index: 17, vision_aspect_ratio: "anyres_max_3" },
};

/** transformers 5: everything but lm_head under `model.`, and the tower without its inner vision_model. */
const inModel = (name: string): string =>
  name
    .replace(/^language_model\.lm_head\./, "lm_head.")
    .replace(/^language_model\.model\./, "model.language_model.")
    .replace(/^(vision_tower|multi_modal_projector|image_newline)/, "model.$1")
    .replace("vision_tower.vision_model.", "vision_tower.");

describeArchitecture(llavaNext, {
  config: next,
  spec: {
    ...{ modelType: "llava_next", imageTokenId: 18, vision: { runLayers: 2, numVisualFeatures: 16 } },
    visualTokens: {
      ...{ kind: "anyres", tile: 29, side: 4 },
      grids: [
        [1, 2],
        [3, 1],
      ],
    },
  },
  tensors: { ...prefixed, ...clip, image_newline: [24] },
  layouts: [inModel],
});

describe("LLaVA-OneVision's config", () => {
  it("is read with its tower to the last layer, its limit of tiles and several images as squares", () => {
    const { spec, architecture } = readModel(onevision);
    expect(architecture).toBe(llavaOnevision);
    expect(spec).toMatchObject({
      ...{ modelType: "llava_onevision", vision: { kind: "siglip", runLayers: 4, numVisualFeatures: 16 } },
      visualTokens: { kind: "anyres", max_tiles: 3, squares_several: true },
    });
  });

  it("has the class's 36 grids and nine tiles where it says nothing", () => {
    const { image_grid_pinpoints: _, vision_aspect_ratio: __, ...bare } = onevision;
    const tower = { ...onevision.vision_config, image_size: 384, patch_size: 14 };
    expect(readModel({ ...bare, vision_config: tower }).spec.visualTokens).toMatchObject({ side: 27, max_tiles: 9 });
  });

  it.each<[Readonly<Record<string, unknown>>, RegExp]>([
    [{ vision_aspect_ratio: "pad" }, /SPC002.*vision_aspect_ratio is "pad"/],
    [{ vision_aspect_ratio: "anyres_max_0" }, /SPC002.*anyres_max_0/],
    [{ vision_feature_select_strategy: "default" }, /SPC006.*leaves 15 features of a tile; expected 4 × 4/],
    [{ vision_feature_layer: [-2, -1] }, /SPC004.*list of layers/],
    [{ image_grid_pinpoints: [[29, 30]] }, /SPC002.*whole tiles of 29 pixels/],
    [{ image_grid_pinpoints: [[29 * 300, 29]] }, /SPC002.*image_grid_pinpoints/],
    [{ use_image_newline_parameter: false }, /SPC004.*use_image_newline_parameter/],
    [{ image_processor_cfg: { image_grid_pinpoints: [[29, 29]] } }, /SPC005.*is another list/],
    [
      { image_processor_cfg: { size: { height: 29, width: 58 } } },
      /SPC005.*size is {"height":29,"width":58}, but image_size/,
    ],
    [{ image_processor_cfg: { crop_size: 28 } }, /SPC005.*crop_size is 28/],
    [{ processor_cfg: { num_image_tokens: 17 } }, /SPC005.*num_image_tokens is 17.*patches of a tile is 16/],
    [{ processor_cfg: { vision_aspect_ratio: "anyres_max_9" } }, /SPC005.*"anyres_max_9".*"anyres_max_3"/],
    [{ text_config: { ...onevision.text_config, model_type: "granite" } }, /SPC004.*model_type/],
  ])("is refused with %j", (changes, message) => {
    expect(() => readModel({ ...onevision, ...changes })).toThrow(message);
  });
});

describe("LLaVA-NeXT's config", () => {
  it("is refused where the class token would stand in the grid of a tile", () => {
    const full = { ...next, vision_feature_select_strategy: "full" };
    expect(() => readModel(full)).toThrow(/SPC006.*leaves 17 features.*CLIP/s);
  });
});
