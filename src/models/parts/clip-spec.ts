import type { ConfigReader } from "../config-reader.ts";
import type { VisionSpec } from "../spec.ts";
import { readCommonKeys, readSize } from "./common-keys.ts";

/** CLIPVisionConfig's defaults (ViT-B/32): transformers leaves keys with these values out of a nested config. */
const DEFAULTS = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_channels: 3,
  image_size: 224,
  patch_size: 32,
};

const ACTIVATIONS: Readonly<Record<string, VisionSpec["activation"]>> = {
  quick_gelu: "quick_gelu",
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
};

/** The layer whose hidden state is the feature, and whether the class token's row stays. */
export interface FeatureChoice {
  /** As in config.json: an index into [embeddings, layer 1, …, layer n], negative from the end. */
  readonly layer: number;
  readonly dropClassToken: boolean;
}

/** The keys of a CLIPVisionConfig. `where` is the reader that holds `vision_feature_layer`. */
export function readClipVision(c: ConfigReader, where: ConfigReader, feature: FeatureChoice): VisionSpec {
  const size = (key: keyof typeof DEFAULTS): number => readSize(c, key, DEFAULTS[key]);
  readCommonKeys(c);
  c.ignore(
    "projection_dim",
    "vocab_size",
    "dropout",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
  );
  const [hiddenSize, heads, layers] = [size("hidden_size"), size("num_attention_heads"), size("num_hidden_layers")];
  const [imageSize, patchSize] = [size("image_size"), size("patch_size")];
  const patches = Math.floor(imageSize / patchSize) ** 2;
  checkSizes(c, { hiddenSize, heads, imageSize, patchSize });
  return {
    kind: "clip",
    imageSize,
    patchSize,
    channels: size("num_channels"),
    hiddenSize,
    layers,
    heads,
    intermediateSize: size("intermediate_size"),
    activation: ACTIVATIONS[c.choice("hidden_act", Object.keys(ACTIVATIONS), "quick_gelu")] ?? "quick_gelu",
    normEps: c.number("layer_norm_eps", 1e-5),
    runLayers: layersToRun(where, feature.layer, layers),
    dropClassToken: feature.dropClassToken,
    numVisualFeatures: feature.dropClassToken ? patches : patches + 1,
  };
}

/** hidden_states has layers + 1 entries: −1 is the last layer's output, −2 the one before, 0 the embeddings. */
function layersToRun(where: ConfigReader, layer: number, layers: number): number {
  const run = layer < 0 ? layers + 1 + layer : layer;
  if (run >= 0 && run <= layers) return run;
  where.problem(
    "SPC006",
    "vision_feature_layer",
    `is ${layer}, but the vision tower has ${layers} layers`,
    "features are taken from the output of one of the layers (or 0, the embeddings)",
    `give a value from ${-layers - 1} to ${layers}`,
  );
  return layers;
}

function checkSizes(c: ConfigReader, spec: Pick<VisionSpec, "hiddenSize" | "heads" | "imageSize" | "patchSize">): void {
  if (!c.sound) return;
  if (spec.hiddenSize % spec.heads !== 0) {
    c.problem(
      "SPC006",
      "num_attention_heads",
      `is ${spec.heads}, which does not divide hidden_size ${spec.hiddenSize}`,
      "each head holds hidden_size / num_attention_heads channels",
      "give num_attention_heads as a divisor of hidden_size",
    );
  }
  if (spec.patchSize > spec.imageSize) {
    c.problem(
      "SPC006",
      "patch_size",
      `is ${spec.patchSize}, larger than image_size ${spec.imageSize}`,
      "an image must hold at least one patch",
      "give image_size and patch_size as they were trained",
    );
  }
}
