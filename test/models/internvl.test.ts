import { describe, expect, it } from "vitest";
import internvl from "../../src/models/internvl.ts";
import { readModel } from "../../src/models/registry.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors } from "./names.ts";

const [LLM, WIDTH, DEEP, PATCH] = [24, 20, 28, 7];
const text = llamaTensors({ hidden: LLM, q: 24, kv: 12, intermediate: 44, vocab: 19, layers: 2 });
const named = Object.entries(text).map(([name, shape]) => [name.replace(/^model\./, "model.language_model."), shape]);
const biases = [0, 1].flatMap(layer =>
  Object.entries({ q_proj: 24, k_proj: 12, v_proj: 12 }).map(([part, rows]) => [
    `model.language_model.layers.${layer}.self_attn.${part}.bias`,
    [rows],
  ]),
);

function layer(at: string): (readonly [string, readonly number[]])[] {
  const square = (name: string) =>
    [
      [`${at}.attention.${name}.weight`, [WIDTH, WIDTH]],
      [`${at}.attention.${name}.bias`, [WIDTH]],
    ] as const;
  const norm = (name: string) => ["weight", "bias"].map(part => [`${at}.${name}.${part}`, [WIDTH]] as const);
  return [
    ...["q_proj", "k_proj", "v_proj", "projection_layer"].flatMap(square),
    ...norm("layernorm_before"),
    ...norm("layernorm_after"),
    [`${at}.lambda_1`, [WIDTH]],
    [`${at}.lambda_2`, [WIDTH]],
    [`${at}.mlp.fc1.weight`, [DEEP, WIDTH]],
    [`${at}.mlp.fc1.bias`, [DEEP]],
    [`${at}.mlp.fc2.weight`, [WIDTH, DEEP]],
    [`${at}.mlp.fc2.bias`, [WIDTH]],
  ];
}

const config = {
  architectures: ["InternVLForConditionalGeneration"],
  model_type: "internvl",
  text_config: {
    ...{ model_type: "qwen2", hidden_size: LLM, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
    ...{ intermediate_size: 44, vocab_size: 19 },
  },
  vision_config: {
    ...{ model_type: "internvl_vision", hidden_size: WIDTH, num_hidden_layers: 3, num_attention_heads: 5 },
    ...{ intermediate_size: DEEP, image_size: [28, 28], patch_size: [PATCH, PATCH], attention_bias: true },
  },
  image_token_id: 18,
  tie_word_embeddings: false,
  image_processor_cfg: { min_patches: 2, max_patches: 7, size: { height: 28, width: 28 } },
};

describeArchitecture(internvl, {
  config,
  spec: {
    modelType: "internvl",
    imageTokenId: 18,
    vision: { kind: "internvit", runLayers: 3, numVisualFeatures: 4, qkvBias: true },
    projector: { kind: "shuffle_mlp2", fold: 2, inputSize: WIDTH, outputSize: LLM },
    visualTokens: {
      ...{ kind: "aspect_ratio_tiles", tile: 28, min_tiles: 2, max_tiles: 7 },
      ...{ features_per_tile: 4, patches_per_tile: 16 },
    },
  },
  tensors: {
    ...Object.fromEntries([...named, ...biases]),
    ...Object.fromEntries([0, 1, 2].flatMap(i => layer(`model.vision_tower.encoder.layer.${i}`))),
    "model.vision_tower.embeddings.cls_token": [1, 1, WIDTH],
    "model.vision_tower.embeddings.position_embeddings": [1, 17, WIDTH],
    "model.vision_tower.embeddings.patch_embeddings.projection.weight": [WIDTH, 3, PATCH, PATCH],
    "model.vision_tower.embeddings.patch_embeddings.projection.bias": [WIDTH],
    "model.multi_modal_projector.layer_norm.weight": [4 * WIDTH],
    "model.multi_modal_projector.layer_norm.bias": [4 * WIDTH],
    "model.multi_modal_projector.linear_1.weight": [LLM, 4 * WIDTH],
    "model.multi_modal_projector.linear_1.bias": [LLM],
    "model.multi_modal_projector.linear_2.weight": [LLM, LLM],
    "model.multi_modal_projector.linear_2.bias": [LLM],
  },
  layouts: [
    // transformers before 5: each part at the top.
    name =>
      name.replace(/^model\.language_model\./, "language_model.model.").replace(/^lm_head/, "language_model.lm_head"),
    name => name.replace(/^model\.(vision_tower|multi_modal_projector)\./, "$1."),
  ],
});

describe("InternVL's config", () => {
  it.each([
    [{ downsample_ratio: 0.3 }, /SPC006.*downsample_ratio is 0.3/],
    [{ downsample_ratio: 1 / 3 }, /a divisor of 4/],
    [{ vision_config: { ...config.vision_config, image_size: [28, 35] } }, /SPC002.*image_size is \[28,35\]/],
    [{ vision_config: { ...config.vision_config, use_mean_pooling: false } }, /SPC004.*use_mean_pooling/],
    [{ text_config: { ...config.text_config, model_type: "gpt_oss" } }, /SPC004.*text_config.model_type/],
  ])("is refused with %j", (changes, message) => {
    expect(() => readModel({ ...config, ...changes })).toThrow(message);
  });

  it("is read without an image processor's file as the class cuts by default, with a warning", () => {
    const { image_processor_cfg: _, ...bare } = config;
    const { spec, warnings } = readModel(bare);
    expect(spec.visualTokens).toMatchObject({ min_tiles: 1, max_tiles: 12 });
    expect(warnings.map(({ what }) => what).join()).toMatch(/image_processor_cfg is not there/);
  });
});
