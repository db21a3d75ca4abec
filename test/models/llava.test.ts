import llava from "../../src/models/llava.ts";
import { describeArchitecture } from "../support/describe-architecture.ts";
import { clipTensors, llamaTensors } from "./names.ts";

const text = llamaTensors({ hidden: 24, q: 24, kv: 12, intermediate: 44, vocab: 19, layers: 2 });
const prefixed = Object.fromEntries(Object.entries(text).map(([name, shape]) => [`language_model.${name}`, shape]));

describeArchitecture(llava, {
  config: {
    architectures: ["LlavaForConditionalGeneration"],
    model_type: "llava",
    text_config: {
      model_type: "llama",
      hidden_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      intermediate_size: 44,
      vocab_size: 19,
    },
    vision_config: {
      model_type: "clip_vision_model",
      hidden_size: 20,
      num_hidden_layers: 4,
      num_attention_heads: 5,
      intermediate_size: 28,
      image_size: 29,
      patch_size: 7,
    },
    image_token_index: 18,
    vision_feature_layer: -3,
  },
  spec: {
    modelType: "llava",
    imageTokenId: 18,
    vision: { runLayers: 2, numVisualFeatures: 16 },
    projector: { inputSize: 20, outputSize: 24 },
  },
  tensors: {
    ...prefixed,
    ...clipTensors({ hidden: 20, intermediate: 28, layers: 4, patch: 7, positions: 17, llm: 24 }),
  },
  layouts: [
    // transformers 4.52 and later in memory: everything but lm_head under `model.`.
    name =>
      name
        .replace(/^language_model\.lm_head\./, "lm_head.")
        .replace(/^language_model\.model\./, "model.language_model.")
        .replace(/^(vision_tower|multi_modal_projector)\./, "model.$1."),
    // transformers 5: the tower without its inner vision_model.
    name => name.replace("vision_tower.vision_model.", "vision_tower."),
  ],
});
