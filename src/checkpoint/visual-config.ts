import { featureRange } from "../models/parts/visual-tokens.ts";
import type { ModelSpec, PackedVisionSpec, SwinSpec } from "../models/spec.ts";
import type { FloatDtype } from "../tensor/index.ts";

/** `visual/config.json`: what the image encoder computes, in numbers. Sizes are element counts, image sizes pixels. */
export function visualConfig(spec: ModelSpec, dtype: FloatDtype): Record<string, unknown> {
  const { vision, qformer, projector, swin, packedVision } = spec;
  if (swin !== undefined) return swinConfig(spec, swin, dtype);
  if (packedVision !== undefined) return packedConfig(spec, packedVision, dtype);
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
      ...(projector.fold === undefined ? {} : { fold: projector.fold }),
      input_size: projector.inputSize,
      hidden_size: projector.hiddenSize,
      hidden_act: projector.activation,
      bias: projector.bias,
    },
  };
}

function swinConfig(spec: ModelSpec, swin: SwinSpec, dtype: FloatDtype): Record<string, unknown> {
  return {
    architecture: spec.architecture,
    model_type: spec.modelType,
    dtype,
    num_visual_features: swin.numVisualFeatures,
    hidden_size: swin.hiddenSize,
    vision: {
      type: "swin",
      image_size: swin.imageSize,
      patch_size: swin.patchSize,
      num_channels: swin.channels,
      embed_dim: swin.embedSize,
      depths: swin.depths,
      num_heads: swin.heads,
      window_size: swin.windowSize,
      mlp_ratio: swin.mlpRatio,
      qkv_bias: swin.qkvBias,
      hidden_act: swin.activation,
      layer_norm_eps: swin.normEps,
    },
  };
}

function packedConfig(spec: ModelSpec, vision: PackedVisionSpec, dtype: FloatDtype): Record<string, unknown> {
  const { windows, tableSide, deepstackLayers } = vision;
  return {
    architecture: spec.architecture,
    model_type: spec.modelType,
    dtype,
    num_visual_features: featureRange(spec).most,
    hidden_size: vision.outputSize,
    vision: {
      type: vision.kind,
      num_channels: vision.channels,
      patch_size: vision.patchSize,
      temporal_patch_size: vision.temporalPatchSize,
      spatial_merge_size: vision.mergeSize,
      hidden_size: vision.hiddenSize,
      num_hidden_layers: vision.layers,
      num_attention_heads: vision.heads,
      intermediate_size: vision.intermediateSize,
      hidden_act: vision.activation,
      rope_theta: vision.ropeTheta,
      ...(windows && { window_features: windows.edge, fullatt_block_indexes: windows.fullLayers }),
      ...(tableSide !== undefined && { num_position_embeddings: tableSide ** 2 }),
      ...(deepstackLayers && { deepstack_visual_indexes: deepstackLayers }),
    },
  };
}
