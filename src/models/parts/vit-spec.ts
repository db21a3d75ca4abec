import type { ConfigReader } from "../config-reader.ts";
import type { VisionSpec } from "../spec.ts";
import { readCommonKeys, readSize } from "./common-keys.ts";
import { towerTokens } from "./vit.ts";

/** Defaults of the config classes: transformers leaves keys with these values out of a nested config. */
const BASE = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_channels: 3,
  image_size: 224,
};

interface Family {
  readonly kind: VisionSpec["kind"];
  readonly sizes: typeof BASE & { readonly patch_size: number };
  readonly activation: string;
  readonly normEps: number;
  /** Keys without effect on the features, beside the common ones. */
  readonly ignored: readonly string[];
}

const SIGLIP: Family = {
  kind: "siglip",
  sizes: { ...BASE, patch_size: 16 },
  activation: "gelu_pytorch_tanh",
  normEps: 1e-6,
  // The head pools what the last layer gives; features are taken before it.
  ignored: ["vision_use_head", "projection_dim"],
};

/** By `model_type` of the vision config, and SigLIP once more for features behind its last norm. */
const FAMILIES: Readonly<Record<string, Family>> = {
  clip_vision_model: {
    kind: "clip",
    sizes: { ...BASE, patch_size: 32 },
    activation: "quick_gelu",
    normEps: 1e-5,
    ignored: ["projection_dim", "vocab_size", "dropout", "bos_token_id", "eos_token_id", "pad_token_id"],
  },
  siglip_vision_model: SIGLIP,
  siglip_normed: { ...SIGLIP, kind: "siglip_normed", ignored: [...SIGLIP.ignored, "vocab_size", "num_image_tokens"] },
  idefics3_vision: {
    kind: "idefics3",
    sizes: { ...BASE, hidden_size: 1152, num_attention_heads: 16, patch_size: 32 },
    activation: "gelu_pytorch_tanh",
    normEps: 1e-6,
    // transformers' tower reads none of these: what the image processor does to pictures, and leftovers of training.
    ignored: ["size", "max_image_size", "use_base_siglip", "projection_class", "projection_dim", "ignore_index"],
  },
  blip_2_vision_model: {
    kind: "eva",
    sizes: {
      ...BASE,
      hidden_size: 1408,
      intermediate_size: 6144,
      num_hidden_layers: 39,
      num_attention_heads: 16,
      patch_size: 14,
    },
    activation: "gelu",
    normEps: 1e-6,
    ignored: ["dropout", "projection_dim"],
  },
  internvl_vision: {
    kind: "internvit",
    sizes: {
      ...{
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 24,
        num_attention_heads: 16,
        num_channels: 3,
      },
      ...{ image_size: 448, patch_size: 14 },
    },
    activation: "gelu",
    normEps: 1e-6,
    ignored: ["hidden_dropout_prob", "projection_dropout", "layer_scale_init_value"],
  },
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
  /** What the layer's key is called, for messages. */
  readonly key?: string;
}

/** The output of the last layer, with every row. */
export const LAST_LAYER: FeatureChoice = { layer: -1, dropClassToken: false };

/**
 * The vision config of any tower we know, told apart by its model_type. `where` is the reader that holds
 * `vision_feature_layer`; `as` the tower that all of `supported` are names of. numVisualFeatures counts the tower's own rows.
 */
export function readVision(
  c: ConfigReader,
  where: ConfigReader,
  feature: FeatureChoice,
  supported: readonly string[] = Object.keys(FAMILIES),
  as?: string,
): VisionSpec {
  c.only("model_type", supported, "other vision towers have tensors and numbers of their own");
  const type = c.raw("model_type");
  const family = FAMILIES[as ?? supported.find(known => known === type) ?? supported[0] ?? ""] as Family;
  const size = (key: keyof Family["sizes"]): number => readSize(c, key, family.sizes[key]);
  const edge = (key: "image_size" | "patch_size"): number => readEdge(c, key, family.sizes[key]);
  readCommonKeys(c);
  c.ignore(...family.ignored, "tie_word_embeddings");
  const [hiddenSize, heads, layers] = [size("hidden_size"), size("num_attention_heads"), size("num_hidden_layers")];
  const [imageSize, patchSize] = [edge("image_size"), edge("patch_size")];
  checkSizes(c, { hiddenSize, heads, imageSize, patchSize });
  const tokens = towerTokens({ kind: family.kind, imageSize, patchSize });
  return {
    kind: family.kind,
    imageSize,
    patchSize,
    channels: size("num_channels"),
    hiddenSize,
    layers,
    heads,
    intermediateSize: size("intermediate_size"),
    activation: ACTIVATIONS[c.choice("hidden_act", Object.keys(ACTIVATIONS), family.activation)] ?? "gelu",
    normEps: c.number("layer_norm_eps", family.normEps),
    runLayers: layersToRun(where, feature, layers),
    dropClassToken: feature.dropClassToken,
    numVisualFeatures: feature.dropClassToken ? tokens - 1 : tokens,
    ...(family.kind === "eva" && { qkvBias: c.boolean("qkv_bias", true) }),
    ...(family.kind === "internvit" && readInternvit(c)),
  };
}

/** One number, or twice the same one: height and width. */
function readEdge(c: ConfigReader, key: string, fallback: number): number {
  const value = c.raw(key);
  if (!Array.isArray(value)) return readSize(c, key, fallback);
  const [height, width] = value;
  if (value.length === 2 && height === width && Number.isSafeInteger(height) && height > 0 && height <= MAX_EDGE)
    return height;
  c.problem(
    "SPC002",
    key,
    `is ${JSON.stringify(value)}; expected a whole number, or the same one twice`,
    "images and patches are squares",
    `give ${key} as it was trained`,
  );
  return fallback;
}

const MAX_EDGE = 16_384;

/** What tells InternViT-300M and 6B apart. */
function readInternvit(c: ConfigReader): Pick<VisionSpec, "qkvBias" | "norm" | "qkNorm"> {
  c.only("use_absolute_position_embeddings", [true], "without a position each, patches would be without order");
  c.only("use_mask_token", [false], "a mask token is for training alone");
  c.only("use_mean_pooling", [true], "a norm would follow the last layer");
  const rms = c.choice("norm_type", ["layer_norm", "rms_norm"], "layer_norm") === "rms_norm";
  return {
    qkvBias: c.boolean("attention_bias", false),
    ...(rms && { norm: "rms" }),
    ...(c.boolean("use_qk_norm", false) && { qkNorm: true }),
  };
}

/** hidden_states has layers + 1 entries: −1 is the last layer's output, −2 the one before, 0 the embeddings. */
function layersToRun(
  where: ConfigReader,
  { layer, key = "vision_feature_layer" }: FeatureChoice,
  layers: number,
): number {
  const run = layer < 0 ? layers + 1 + layer : layer;
  if (run >= 0 && run <= layers) return run;
  where.problem(
    "SPC006",
    key,
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
