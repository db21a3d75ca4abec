import { describe, expect, it } from "vitest";
import paligemma from "../../src/models/paligemma.ts";
import { readModel } from "../../src/models/registry.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { llamaTensors, siglipTensors } from "./names.ts";

const [LLM, WIDTH] = [24, 20];

const config = {
  architectures: ["PaliGemmaForConditionalGeneration"],
  model_type: "paligemma",
  text_config: {
    ...{ model_type: "gemma", hidden_size: LLM, num_hidden_layers: 2, num_attention_heads: 4, head_dim: 10 },
    ...{ num_key_value_heads: 2, intermediate_size: 44, vocab_size: 19, num_image_tokens: 9 },
  },
  vision_config: {
    ...{ model_type: "siglip_vision_model", hidden_size: WIDTH, num_hidden_layers: 3, num_attention_heads: 5 },
    ...{ intermediate_size: 28, image_size: 21, patch_size: 7, vision_use_head: false, projection_dim: LLM },
    ...{ num_image_tokens: 9, projector_hidden_act: "gelu_fast" },
  },
  ...{ image_token_index: 18, projection_dim: LLM, hidden_size: LLM, ignore_index: -100, pad_token_id: 0 },
  ...{ bos_token_id: 2, eos_token_id: 1, _vocab_size: 19 },
  tie_word_embeddings: false,
};

describeArchitecture(paligemma, {
  config,
  spec: {
    modelType: "paligemma",
    imageTokenId: 18,
    language: { architecture: "GemmaForCausalLM", visualSpans: "prompt", activation: "gelu_tanh" },
    vision: { kind: "siglip_normed", runLayers: 3, numVisualFeatures: 9, dropClassToken: false },
    projector: { kind: "linear", inputSize: WIDTH, outputSize: LLM, bias: true },
    prompt: { template: "<bos>{question}\n", imagesFirst: true },
    bosTokenId: 2,
    eosTokenIds: [1],
  },
  tensors: {
    ...Object.fromEntries(
      Object.entries(llamaTensors({ hidden: LLM, q: 40, kv: 20, intermediate: 44, vocab: 19, layers: 2 })).map(
        ([name, shape]) => [`language_model.${name}`, shape],
      ),
    ),
    ...siglipTensors({ hidden: WIDTH, intermediate: 28, layers: 3, patch: 7, positions: 9 }),
    "multi_modal_projector.linear.weight": [LLM, WIDTH],
    "multi_modal_projector.linear.bias": [LLM],
  },
  layouts: [
    // transformers 5
    name =>
      name.startsWith("language_model.lm_head")
        ? name.replace("language_model.", "")
        : `model.${name.replace("language_model.model.", "language_model.").replace("vision_tower.vision_model.", "vision_tower.")}`,
  ],
});

describe("A PaliGemmaConfig", () => {
  const read = (changes: object): unknown => readModel({ ...config, ...changes });
  const text = (changes: object): object => ({ text_config: { ...config.text_config, ...changes } });

  it("has Gemma 2 where text_config says so, with windows that a prompt's tokens see past", () => {
    const { language } = readModel({ ...config, ...text({ model_type: "gemma2", sliding_window: 5 }) }).spec;
    expect(language).toMatchObject({
      architecture: "Gemma2ForCausalLM",
      visualSpans: "prompt",
      scoreCap: 50,
    });
    expect(language.logitCap).toBeUndefined();
    expect(language.layerKinds).toEqual([{ rope: "global", window: 5 }, { rope: "global" }]);
  });

  it("says that tokens see each other both ways, or leaves it out", () => {
    expect(read(text({ use_bidirectional_attention: true }))).toEqual(
      read(text({ use_bidirectional_attention: null })),
    );
  });

  it.each([
    [text({ use_bidirectional_attention: false }), /SPC004.*use_bidirectional_attention is false/s],
    [text({ model_type: "gemma3_text" }), /SPC004.*text_config.model_type is "gemma3_text"/s],
    [{ projection_dim: 23 }, /SPC005.*projection_dim is 23, but text_config.hidden_size is 24/s],
    [{ image_token_index: 19 }, /SPC007.*image_token_index is 19/s],
    [
      { vision_config: { ...config.vision_config, model_type: "clip_vision_model" } },
      /SPC004.*vision_config.model_type/s,
    ],
    [{ prefix_tokens: 3 }, /SPC003.*prefix_tokens/s],
  ] as const)("with %j is refused", (changes, message) => {
    expect(() => read(changes)).toThrow(message);
  });
});
