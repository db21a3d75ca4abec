import type { ModelSpec } from "../models/spec.ts";
import type { FloatDtype } from "../tensor/index.ts";

/** `visual/config.json`: what the image encoder computes, in numbers. Sizes are element counts, image sizes pixels. */
export function visualConfig(spec: ModelSpec, dtype: FloatDtype): Record<string, unknown> {
  const { vision, qformer, projector } = spec;
  if (vision === undefined || projector === undefined) throw new Error(`${spec.architecture} has no visual part`);
  return {
    architecture: spec.architecture,
    model_type: spec.modelType,
    dtype,
    num_visual_features: vision.numVisualFeatures,
    hidden_size: projector.outputSize,
    vision: {
      type: vision.kind,
      image_size: vision.imageSize,
      patch_size: vision.patchSize,
      num_channels: vision.channels,
      hidden_size: vision.hiddenSize,
      num_hidden_layers: vision.layers,
      num_run_layers: vision.runLayers,
      num_attention_heads: vision.heads,
      intermediate_size: vision.intermediateSize,
      hidden_act: vision.activation,
      layer_norm_eps: vision.normEps,
      drop_class_token: vision.dropClassToken,
      ...(vision.qkvBias === undefined ? {} : { qkv_bias: vision.qkvBias }),
    },
    ...(qformer && {
      qformer: {
        num_query_tokens: qformer.queries,
        hidden_size: qformer.hiddenSize,
        num_hidden_layers: qformer.layers,
        num_attention_heads: qformer.heads,
        intermediate_size: qformer.intermediateSize,
        hidden_act: qformer.activation,
        layer_norm_eps: qformer.normEps,
        cross_attention_frequency: qformer.crossAttentionFrequency,
        encoder_hidden_size: qformer.encoderSize,
      },
    }),
    projector: {
      type: projector.kind,
      ...(projector.depth === undefined ? {} : { depth: projector.depth }),
      input_size: projector.inputSize,
      hidden_size: projector.hiddenSize,
      hidden_act: projector.activation,
      bias: projector.bias,
    },
  };
}
