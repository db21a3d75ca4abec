import type { ConfigReader } from "../config-reader.ts";
import type { SwinSpec } from "../spec.ts";
import { readCommonKeys, readSize } from "./common-keys.ts";

/** DonutSwinConfig's defaults: transformers leaves keys with these values out of a nested config. */
const DEFAULTS = { image_size: 224, patch_size: 4, depths: [2, 2, 6, 2], num_heads: [3, 6, 12, 24] };

/** The graph is written block by block; Swin-L has 24. */
const MAX_BLOCKS = 512;

const ACTIVATIONS: Readonly<Record<string, SwinSpec["activation"]>> = {
  gelu: "gelu",
  gelu_new: "gelu_tanh",
  relu: "relu",
};

/** The keys of a DonutSwinConfig. */
export function readSwin(c: ConfigReader): SwinSpec {
  readCommonKeys(c);
  c.only("model_type", ["donut-swin"], "other image encoders have tensors and numbers of their own");
  c.only("use_absolute_embeddings", [false], "positions would be added to the patches");
  c.only("use_2d_embeddings", [false], "positions would be added to the patches");
  c.ignore("attention_probs_dropout_prob", "hidden_dropout_prob", "drop_path_rate", "num_layers", "encoder_stride");
  c.ignore("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "hidden_size", "path_norm");
  const depths = readList(c, "depths", DEFAULTS.depths);
  const embedSize = readSize(c, "embed_dim", 96);
  const imageSize = readPair(c, "image_size", DEFAULTS.image_size);
  const patchSize = readPair(c, "patch_size", DEFAULTS.patch_size);
  const spec = {
    imageSize,
    patchSize,
    channels: readSize(c, "num_channels", 3),
    embedSize,
    depths,
    heads: readList(c, "num_heads", DEFAULTS.num_heads),
    windowSize: readSize(c, "window_size", 7),
    mlpRatio: c.number("mlp_ratio", 4),
    qkvBias: c.boolean("qkv_bias", true),
    activation: ACTIVATIONS[c.choice("hidden_act", Object.keys(ACTIVATIONS), "gelu")] ?? ("gelu" as const),
    normEps: c.number("layer_norm_eps", 1e-5),
    hiddenSize: embedSize * 2 ** Math.max(0, depths.length - 1),
  };
  if (c.sound) checkSizes(c, spec);
  const [h, w] = stageGrids(spec).at(-1) ?? [1, 1];
  return { ...spec, numVisualFeatures: h * w };
}

/** Patches along height and width in each stage: halved between stages, an odd edge rounded up. */
export function stageGrids({
  imageSize,
  patchSize,
  depths,
}: Pick<SwinSpec, "imageSize" | "patchSize" | "depths">): readonly (readonly [number, number])[] {
  const patches = imageSize.map((size, i) => Math.ceil(size / (patchSize[i] as number)));
  return depths.map((_, stage) => {
    const side = (i: number): number => Math.ceil((patches[i] as number) / 2 ** stage);
    return [side(0), side(1)] as const;
  });
}

function checkSizes(c: ConfigReader, spec: Omit<SwinSpec, "numVisualFeatures">): void {
  const { depths, heads, embedSize, windowSize } = spec;
  const blocks = depths.reduce((sum, depth) => sum + depth, 0);
  if (heads.length !== depths.length || depths.length > 8 || blocks > MAX_BLOCKS)
    c.problem(
      "SPC006",
      "num_heads",
      `has ${heads.length} stages and depths ${depths.length} with ${blocks} blocks; expected as many, at most 8 with ${MAX_BLOCKS} blocks`,
      "each stage has blocks and heads of its own",
      "give depths and num_heads as they were trained",
    );
  const uneven = heads.findIndex((count, stage) => (embedSize * 2 ** stage) % count !== 0);
  if (uneven >= 0)
    c.problem(
      "SPC006",
      "num_heads",
      `has ${heads[uneven]} heads in stage ${uneven}, which do not divide its ${embedSize * 2 ** uneven} channels`,
      "each head holds an equal share of the channels",
      "give num_heads as a divisor of embed_dim × 2^stage",
    );
  const [high = 1, wide = 1] = stageGrids(spec)[0] ?? [];
  if (high * wide > MAX_PATCHES)
    c.problem(
      "SPC006",
      "image_size",
      `gives ${high} × ${wide} patches; expected at most ${MAX_PATCHES}`,
      "each patch has an entry in the table of shifted windows",
      "give image_size and patch_size as they were trained",
    );
  if (windowSize > MAX_WINDOW)
    c.problem(
      "SPC006",
      "window_size",
      `is ${windowSize}; expected at most ${MAX_WINDOW}`,
      "each pair of a window's patches has an entry in the table of offsets",
      "give window_size as it was trained",
    );
  const narrow = stageGrids(spec).findIndex(grid => Math.min(...grid) < windowSize);
  if (narrow >= 0)
    c.problem(
      "SPC006",
      "window_size",
      `is ${windowSize}, and stage ${narrow} has ${stageGrids(spec)[narrow]?.join(" × ")} patches`,
      "the bias table is for whole windows, and a smaller grid holds none",
      "give image_size and window_size as they were trained",
    );
  if (!(spec.mlpRatio > 0 && spec.mlpRatio <= 64))
    c.problem(
      "SPC002",
      "mlp_ratio",
      `is ${spec.mlpRatio}; expected a number up to 64`,
      "the feed-forward layer is so many times as wide",
      "give mlp_ratio as it was trained",
    );
}

/** One size for both sides, or [height, width]. */
function readPair(c: ConfigReader, key: string, fallback: number): readonly [number, number] {
  if (!Array.isArray(c.raw(key))) {
    const side = readSize(c, key, fallback);
    return [side, side];
  }
  const [height = 1, width = 1] = readList(c, key, [fallback, fallback], 2);
  return [height, width];
}

const MAX_SIDE = 65_536;
/** Nougat has 37 632. */
const MAX_PATCHES = 1 << 20;
/** Published ones have 7 to 24; the table has its fourth power of entries. */
const MAX_WINDOW = 32;

function readList(c: ConfigReader, key: string, fallback: readonly number[], length?: number): readonly number[] {
  const value = c.raw(key) ?? fallback;
  const fits = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) > 0 && (n as number) <= MAX_SIDE;
  const right = Array.isArray(value) && value.length > 0 && (length === undefined || value.length === length);
  if (right && value.every(fits)) return value as number[];
  c.problem(
    "SPC002",
    key,
    `is ${JSON.stringify(value).slice(0, 100)}; expected ${length === 2 ? "[height, width]" : "a list of positive whole numbers"}`,
    "the graph's shapes and numbers depend on it",
    `give ${key} as it was trained`,
  );
  return fallback;
}
