import type { Dtype, FloatDtype } from "./dtype.ts";
import type { Shape } from "./shape.ts";

/** TensorRT-LLM's words for how the linear layers of a checkpoint are stored. */
export const QUANT_ALGOS = [
  "W8A16",
  "W4A16",
  "W4A16_AWQ",
  "W4A16_GPTQ",
  "W8A8_SQ_PER_CHANNEL",
  "W8A8_SQ_PER_TENSOR_PLUGIN",
  "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN",
  "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN",
  "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
  "FP8",
] as const;
export type QuantAlgo = (typeof QUANT_ALGOS)[number];

/**
 * Order of the bytes of INT4 and INT8 weights. plain: row-major [in, out], which graphs point at; the others are the
 * permutations that TensorRT-LLM's kernels of that GPU generation read.
 */
export const WEIGHT_LAYOUTS = ["plain", "sm70", "sm80", "sm90"] as const;
export type WeightLayout = (typeof WEIGHT_LAYOUTS)[number];

/** The `quantization` section of a checkpoint's config.json, and what else decides the form of its linear layers. */
export interface QuantSpec {
  readonly quantAlgo: QuantAlgo | null;
  readonly kvCacheQuantAlgo: "INT8" | "FP8" | null;
  /** Input channels that share a scale, of the group-wise algorithms. */
  readonly groupSize: number;
  /** Strength of SmoothQuant. */
  readonly smoothquantVal: number | null;
  readonly hasZeroPoint: boolean;
  /** Inputs are multiplied by a factor per channel before the product (AWQ). */
  readonly preQuantScale: boolean;
  /** Last name of modules that stay plain. */
  readonly excludeModules: readonly string[];
  readonly weightLayout: WeightLayout;
  /** Weights are kept in the float dtype and quantized by the engine (--disable_weight_only_quant_plugin). */
  readonly floatWeights: boolean;
}

export const UNQUANTIZED: QuantSpec = {
  quantAlgo: null,
  kvCacheQuantAlgo: null,
  groupSize: 128,
  smoothquantVal: null,
  hasZeroPoint: false,
  preQuantScale: false,
  excludeModules: ["lm_head"],
  weightLayout: "plain",
  floatWeights: false,
};

/** How one linear layer is stored. K is its input size and N its output size on this rank. */
export type LinearForm =
  | { readonly kind: "plain" }
  /** Codes [K, N] with a scale for each output. */
  | { readonly kind: "channel"; readonly bits: 8 | 4; readonly floatWeights: boolean }
  /** INT4 codes [K, N] with a scale for each output and group of inputs; W = code · scale (+ zero). */
  | { readonly kind: "group"; readonly size: number; readonly zeros: boolean; readonly prequant: boolean }
  /** INT8 codes [N, K] times INT8 activations. */
  | { readonly kind: "smooth"; readonly perToken: boolean; readonly perChannel: boolean }
  /** E4M3 weights [N, K] times E4M3 activations, one scale each. */
  | { readonly kind: "fp8" };

const PLAIN: LinearForm = { kind: "plain" };

/** Modules that are quantized; lm_head where `excludeModules` does not name it. Embeddings and norms never are. */
const LINEAR =
  /^(?:transformer\.layers\.\d+\.(?:attention\.qkv|attention\.dense|mlp\.fc|mlp\.gate|mlp\.proj)|lm_head)$/;

/** The form of `module` ("transformer.layers.0.mlp.fc") in a checkpoint quantized as `quant` says. */
export function linearForm(quant: QuantSpec | undefined, module: string): LinearForm {
  const algo = quant?.quantAlgo;
  if (!quant || !algo || !LINEAR.test(module) || quant.excludeModules.some(name => module.endsWith(name))) return PLAIN;
  switch (algo) {
    case "W8A16":
      return { kind: "channel", bits: 8, floatWeights: quant.floatWeights };
    case "W4A16":
      return { kind: "channel", bits: 4, floatWeights: false };
    case "W4A16_AWQ":
    case "W4A16_GPTQ":
      return { kind: "group", size: quant.groupSize, zeros: quant.hasZeroPoint, prequant: quant.preQuantScale };
    case "FP8":
      return { kind: "fp8" };
    default:
      return { kind: "smooth", perToken: algo.includes("PER_TOKEN"), perChannel: algo.includes("PER_CHANNEL") };
  }
}

/** A tensor of a rank's file. */
export interface TensorType {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/** The 16-bit dtype that TensorRT-LLM calls its permuted group-wise codes by: its engines have no float32 ones. */
export function halfDtype(float: FloatDtype): "float16" | "bfloat16" {
  return float === "bfloat16" ? "bfloat16" : "float16";
}

/** What a rank's file holds in place of `module.weight` [n, k] of the float dtype; biases are stored as they are. */
export function storedLinear(
  quant: QuantSpec,
  module: string,
  [n, k]: readonly [number, number],
  float: FloatDtype,
): readonly TensorType[] {
  const form = linearForm(quant, module);
  const tensor = (name: string, dtype: Dtype, shape: Shape): TensorType => ({
    name: `${module}.${name}`,
    dtype,
    shape,
  });
  switch (form.kind) {
    case "plain":
      return [tensor("weight", float, [n, k])];
    case "channel":
      return [
        form.floatWeights
          ? tensor("weight", float, [k, n])
          : tensor("weight", "int8", [k, form.bits === 4 ? n / 2 : n]),
        tensor("per_channel_scale", float, [n]),
      ];
    case "group":
      return [
        quant.weightLayout === "plain"
          ? tensor("weight", "int8", [k, n / 2])
          : tensor("weight", halfDtype(float), [k, n / 4]),
        tensor("weights_scaling_factor", float, [k / form.size, n]),
        ...(form.zeros ? [tensor("zero", float, [k / form.size, n])] : []),
        ...(form.prequant ? [tensor("prequant_scaling_factor", float, [k])] : []),
      ];
    case "smooth":
      return smoothTensors(form, module, n, k);
    case "fp8":
      return [
        tensor("weight", "float8_e4m3fn", [n, k]),
        tensor("weights_scaling_factor", "float32", [1]),
        tensor("activation_scaling_factor", "float32", [1]),
      ];
  }
}

/** qkv always has a scale for each output: q, k and v differ, or each output does. */
function smoothTensors(
  { perToken, perChannel }: Extract<LinearForm, { kind: "smooth" }>,
  module: string,
  n: number,
  k: number,
): readonly TensorType[] {
  const scales = perChannel || module.endsWith(".qkv") ? n : 1;
  const names = smoothNames(module);
  const f32 = (name: string, shape: Shape): TensorType => ({ name, dtype: "float32", shape });
  return [
    { name: `${module}.weight`, dtype: "int8", shape: [n, k] },
    f32(`${module}.per_channel_scale`, [1, scales]),
    ...(perToken ? [] : [f32(`${module}.act_scale`, [1, 1])]),
    ...(perToken && !names.writtenPerToken ? [] : [f32(names.inputScale, [1])]),
    ...(names.smoother === undefined ? [] : [f32(names.smoother, [1, k])]),
  ];
}

/**
 * Where SmoothQuant keeps what belongs to a product's input. Norms absorb the smoothing of the products after them;
 * dense and proj follow no norm, so their inputs are divided by `smoother`.
 */
export function smoothNames(module: string): {
  readonly inputScale: string;
  /** The norms' factor is written, as 1, where tokens are scaled one by one. */
  readonly writtenPerToken: boolean;
  readonly smoother?: string;
} {
  const layer = module.split(".").slice(0, 3).join(".");
  if (module.endsWith(".qkv")) return { inputScale: `${layer}.input_layernorm.scale_to_int`, writtenPerToken: true };
  if (module.endsWith(".fc") || module.endsWith(".gate"))
    return { inputScale: `${layer}.post_layernorm.scale_to_int`, writtenPerToken: true };
  const block = module.slice(0, module.lastIndexOf("."));
  return {
    inputScale: `${block}.quantization_scaling_factor`,
    writtenPerToken: false,
    smoother: `${module}.smoother`,
  };
}

/** A rank's tensors as they are stored, from those of the float checkpoint. */
export function storedTensors(
  quant: QuantSpec | undefined,
  plain: readonly TensorType[],
  float: FloatDtype,
): readonly TensorType[] {
  if (quant === undefined) return plain;
  const stored = new Map<string, TensorType>();
  for (const tensor of plain) {
    const module = moduleOf(tensor.name);
    const [n, k] = tensor.shape as [number, number];
    const replaced =
      module === undefined || linearForm(quant, module).kind === "plain"
        ? [tensor]
        : storedLinear(quant, module, [n, k], float);
    for (const one of [...replaced, ...cacheScale(quant, module)]) stored.set(one.name, one);
  }
  return [...stored.values()];
}

/** "transformer.layers.0.mlp.fc" of its weight's name; undefined for every other tensor. */
export function moduleOf(name: string): string | undefined {
  const module = name.endsWith(".weight") ? name.slice(0, -".weight".length) : "";
  return LINEAR.test(module) ? module : undefined;
}

/** One scale for keys and values of a layer: value = code · scale. */
function cacheScale({ kvCacheQuantAlgo }: QuantSpec, module: string | undefined): readonly TensorType[] {
  if (kvCacheQuantAlgo === null || !module?.endsWith(".qkv")) return [];
  const name = module.replace(/qkv$/, "kv_cache_scaling_factor");
  return [{ name, dtype: "float32", shape: [1] }];
}
