import type { ConfigReader } from "../config-reader.ts";
import type { PackedVisionSpec } from "../spec.ts";
import { checkHeads, readCommonKeys, readSize } from "./common-keys.ts";
import { positive } from "./rope-spec.ts";

/** Defaults of the config classes: keys with these values may be left out. */
interface Sizes {
  readonly depth: number;
  readonly num_heads: number;
  readonly patch_size: number;
  readonly hidden_act: string;
}

const QWEN2: Sizes = { depth: 32, num_heads: 16, patch_size: 14, hidden_act: "quick_gelu" };

const ACTIVATIONS: Readonly<Record<string, PackedVisionSpec["activation"]>> = {
  quick_gelu: "quick_gelu",
  gelu: "gelu",
  gelu_pytorch_tanh: "gelu_tanh",
  silu: "silu",
};

/** `vision_config` of Qwen2-VL: its hidden_size is the language model's. */
export function readQwen2Tower(c: ConfigReader): PackedVisionSpec {
  const hiddenSize = readSize(c, "embed_dim", 1280);
  const ratio = positive(c, "mlp_ratio", 4);
  return {
    kind: "qwen2_vl",
    ...readCommon(c, QWEN2, ["qwen2_vl_vision", "qwen2_vl"], { hiddenSize, hiddenKey: "embed_dim" }),
    intermediateSize: Math.trunc(hiddenSize * ratio),
    outputSize: readSize(c, "hidden_size", 3584),
  };
}

/** Of Qwen2.5-VL: attention in windows. */
export function readQwen25Tower(c: ConfigReader): PackedVisionSpec {
  const hiddenSize = readSize(c, "hidden_size", 3584);
  // Of videos' positions.
  c.ignore("tokens_per_second");
  const sizes = { ...QWEN2, hidden_act: "silu" };
  const common = readCommon(c, sizes, ["qwen2_5_vl_vision", "qwen2_5_vl"], { hiddenSize, hiddenKey: "hidden_size" });
  return {
    kind: "qwen2_5_vl",
    ...common,
    intermediateSize: readSize(c, "intermediate_size", 3420),
    outputSize: readSize(c, "out_hidden_size", 3584),
    windows: {
      edge: readWindow(c, common),
      fullLayers: readLayers(c, "fullatt_block_indexes", [7, 15, 23, 31], common.layers),
    },
  };
}

/** Of Qwen3-VL: a position table, and several layers with a projector. */
export function readQwen3Tower(c: ConfigReader): PackedVisionSpec {
  const hiddenSize = readSize(c, "hidden_size", 1152);
  const sizes = { ...QWEN2, depth: 27, patch_size: 16, hidden_act: "gelu_pytorch_tanh" };
  const common = readCommon(c, sizes, ["qwen3_vl_vision", "qwen3_vl"], { hiddenSize, hiddenKey: "hidden_size" });
  return {
    kind: "qwen3_vl",
    ...common,
    intermediateSize: readSize(c, "intermediate_size", 4304),
    outputSize: readSize(c, "out_hidden_size", 3584),
    tableSide: readTableSide(c),
    deepstackLayers: readLayers(c, "deepstack_visual_indexes", [8, 16, 24], common.layers),
  };
}

type Common = Omit<PackedVisionSpec, "kind" | "intermediateSize" | "outputSize">;

function readCommon(
  c: ConfigReader,
  sizes: Sizes,
  types: readonly string[],
  { hiddenSize, hiddenKey }: { readonly hiddenSize: number; readonly hiddenKey: string },
): Common {
  readCommonKeys(c);
  c.only("model_type", types, "other vision towers have tensors and numbers of their own");
  // transformers reads in_channels alone; older files spell it so and mean the same.
  c.only("in_chans", [3], "images have three channels");
  c.ignore("spatial_patch_size", "tie_word_embeddings");
  const heads = readSize(c, "num_heads", sizes.num_heads);
  checkHeads(c, hiddenSize, heads, "num_heads", hiddenKey);
  if (c.sound && (hiddenSize / heads) % 4 !== 0)
    c.problem(
      "SPC006",
      "num_heads",
      `gives heads of ${hiddenSize / heads} channels; expected a multiple of 4`,
      "a patch's row turns one half of the pairs of channels and its column the other",
      "give num_heads as it was trained",
    );
  return {
    hiddenSize,
    heads,
    layers: readSize(c, "depth", sizes.depth),
    channels: readSize(c, "in_channels", 3),
    patchSize: readSize(c, "patch_size", sizes.patch_size),
    temporalPatchSize: readSize(c, "temporal_patch_size", 2),
    mergeSize: readSize(c, "spatial_merge_size", 2),
    activation: ACTIVATIONS[c.choice("hidden_act", Object.keys(ACTIVATIONS), sizes.hidden_act)] ?? "gelu",
    ropeTheta: readTheta(c),
  };
}

const DEFAULT_THETA = 10_000;

function readTheta(c: ConfigReader): number {
  if (!c.has("rope_parameters")) {
    c.ignore("rope_parameters");
    return DEFAULT_THETA;
  }
  const rope = c.object("rope_parameters");
  rope.only("rope_type", ["axial"], "the classes know no other rotary positions of patches");
  return positive(rope, "rope_theta", DEFAULT_THETA);
}

/** Features along each edge of a window of so many pixels. */
function readWindow(c: ConfigReader, { patchSize, mergeSize }: Common): number {
  const pixels = readSize(c, "window_size", 112);
  const edge = Math.floor(Math.floor(pixels / mergeSize) / patchSize);
  if (edge >= 1) return edge;
  c.problem(
    "SPC006",
    "window_size",
    `is ${pixels}, less than the ${patchSize * mergeSize} pixels of a feature`,
    "a window holds whole features",
    "give window_size as it was trained, 112 in published models",
  );
  return 1;
}

/** Numbers of layers, each once. */
function readLayers(c: ConfigReader, key: string, usual: readonly number[], layers: number): readonly number[] {
  const value = c.has(key) ? c.raw(key) : usual;
  c.ignore(key);
  const isLayer = (index: unknown): boolean =>
    Number.isSafeInteger(index) && (index as number) >= 0 && (index as number) < layers;
  if (Array.isArray(value) && value.every(isLayer) && new Set(value).size === value.length) return value;
  if (c.sound)
    c.problem(
      "SPC006",
      key,
      `is ${JSON.stringify(value)}; expected different numbers from 0 to ${layers - 1}`,
      "each is the number of one of the layers",
      `give ${key} as it was trained`,
    );
  return [];
}

function readTableSide(c: ConfigReader): number {
  const entries = readSize(c, "num_position_embeddings", 2304);
  const side = Math.round(Math.sqrt(entries));
  if (side * side === entries) return side;
  c.problem(
    "SPC006",
    "num_position_embeddings",
    `is ${entries}; expected a square number`,
    "the table is a square that is stretched over a picture",
    "give num_position_embeddings as it was trained, 2304 in published models",
  );
  return side;
}
