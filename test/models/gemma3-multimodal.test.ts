import { describe, expect, it } from "vitest";
import gemma3 from "../../src/models/gemma3-multimodal.ts";
import { readModel } from "../../src/models/registry.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors, perLayer, siglipTensors } from "./names.ts";

const [LLM, WIDTH] = [24, 20];
const text = {
  ...llamaTensors({ hidden: LLM, q: 40, kv: 20, intermediate: 44, vocab: 19, layers: 2 }),
  ...perLayer(2, {
    "pre_feedforward_layernorm.weight": [LLM],
    "post_feedforward_layernorm.weight": [LLM],
    "self_attn.q_norm.weight": [10],
    "self_attn.k_norm.weight": [10],
  }),
};

const config = {
  architectures: ["Gemma3ForConditionalGeneration"],
  model_type: "gemma3",
  text_config: {
    ...{ model_type: "gemma3_text", hidden_size: LLM, num_hidden_layers: 2, num_attention_heads: 4, head_dim: 10 },
    ...{ num_key_value_heads: 2, intermediate_size: 44, vocab_size: 19, sliding_window: 3 },
    layer_types: ["sliding_attention", "full_attention"],
  },
  vision_config: {
    ...{ model_type: "siglip_vision_model", hidden_size: WIDTH, num_hidden_layers: 3, num_attention_heads: 5 },
    ...{ intermediate_size: 28, image_size: 42, patch_size: 7, vision_use_head: false },
  },
  ...{ mm_tokens_per_image: 9, image_token_index: 18, boi_token_index: 3, eoi_token_index: 4 },
  tie_word_embeddings: false,
};

describeArchitecture(gemma3, {
  config,
  spec: {
    modelType: "gemma3",
    imageTokenId: 18,
    language: { visualSpans: "image", layerKinds: [{ rope: "local", window: 3 }, { rope: "global" }] },
    vision: { kind: "siglip_normed", runLayers: 3, numVisualFeatures: 9, dropClassToken: false },
    projector: { kind: "pool_linear", fold: 2, inputSize: WIDTH, outputSize: LLM, normEps: 1e-6 },
    visualTokens: { kind: "enclosed", features: 9, patches: 36, begin: "<start_of_image>", end: "<end_of_image>" },
  },
  tensors: {
    ...Object.fromEntries(Object.entries(text).map(([name, shape]) => [`language_model.${name}`, shape])),
    ...siglipTensors({ hidden: WIDTH, intermediate: 28, layers: 3, patch: 7, positions: 36 }),
    "multi_modal_projector.mm_input_projection_weight": [WIDTH, LLM],
    "multi_modal_projector.mm_soft_emb_norm.weight": [WIDTH],
  },
  layouts: [
    // transformers 5
    name =>
      name.startsWith("language_model.lm_head")
        ? name.replace("language_model.", "")
        : `model.${name.replace("language_model.model.", "language_model.").replace("vision_tower.vision_model.", "vision_tower.")}`,
  ],
});

describe("A Gemma3Config", () => {
  const read = (changes: object): unknown => readModel({ ...config, ...changes });
  const vision = (changes: object): object => ({ vision_config: { ...config.vision_config, ...changes } });

  it("brings 256 features an image where it does not say", () => {
    const { mm_tokens_per_image: _, ...without } = config;
    const wide = { ...without, ...vision({ image_size: 896, patch_size: 14 }) };
    expect(readModel(wide).spec.vision?.numVisualFeatures).toBe(256);
    expect(readModel(wide).spec.projector?.fold).toBe(4);
  });

  it.each([
    [{ mm_tokens_per_image: 8 }, /SPC006.*mm_tokens_per_image is 8; expected the square of a divisor of 6/s],
    [{ mm_tokens_per_image: 16 }, /SPC006.*mm_tokens_per_image is 16/s],
    [{ image_token_index: 19 }, /SPC007.*image_token_index is 19/s],
    [vision({ model_type: "clip_vision_model" }), /SPC004.*vision_config.model_type/s],
    [{ text_config: { ...config.text_config, model_type: "gemma2" } }, /SPC004.*text_config.model_type/s],
    [
      { text_config: { ...config.text_config, use_bidirectional_attention: true } },
      /SPC004.*use_bidirectional_attention/s,
    ],
    [{ mm_pooling: "max" }, /SPC003.*mm_pooling/s],
  ] as const)("with %j is refused", (changes, message) => {
    expect(() => read(changes)).toThrow(message);
  });
});
