import { type QuantAlgo, type QuantSpec, UNQUANTIZED, type WeightLayout } from "../tensor/index.ts";

/** The options of `convert` that decide what weights and cache become, under TensorRT-LLM's names. */
export interface QuantizationOptions {
  readonly use_weight_only: boolean;
  readonly weight_only_precision: "int8" | "int4" | "int4_gptq" | "int4_awq";
  readonly per_group: boolean;
  /** Absent: 128 where groups are asked for, and no groups otherwise. */
  readonly group_size: number | undefined;
  /** Weight-only: lm_head becomes codes as well. */
  readonly quantize_lm_head: boolean;
  readonly weight_layout: WeightLayout;
  readonly disable_weight_only_quant_plugin: boolean;
  /** α of SmoothQuant. */
  readonly smoothquant: number | undefined;
  readonly per_token: boolean;
  readonly per_channel: boolean;
  readonly int8_kv_cache: boolean;
  readonly fp8_kv_cache: boolean;
  readonly qformat: "full_prec" | "int8_wo" | "int4_wo" | "int4_awq" | "int8_sq" | "fp8" | undefined;
  readonly awq_block_size: number;
  /** Texts, or images with texts, that activations are measured on; absent: the texts of the package. */
  readonly calib_dataset: string | undefined;
  readonly calib_size: number | undefined;
  /** Ranges measured before, instead of measuring. */
  readonly act_ranges: string | undefined;
  /** Codes of INT4 weights in GPTQ's or AWQ's form. */
  readonly quant_ckpt_path: string | undefined;
}

export const NO_QUANTIZATION: QuantizationOptions = {
  use_weight_only: false,
  weight_only_precision: "int8",
  per_group: false,
  group_size: undefined,
  quantize_lm_head: false,
  weight_layout: "plain",
  disable_weight_only_quant_plugin: false,
  smoothquant: undefined,
  per_token: false,
  per_channel: false,
  int8_kv_cache: false,
  fp8_kv_cache: false,
  qformat: undefined,
  awq_block_size: 128,
  calib_dataset: undefined,
  calib_size: undefined,
  act_ranges: undefined,
  quant_ckpt_path: undefined,
};

/** The spec that the options ask for; undefined when everything stays plain. */
export function quantSpec(options: QuantizationOptions): QuantSpec | undefined {
  const quantAlgo = algoOf(options);
  const kvCacheQuantAlgo = options.int8_kv_cache ? "INT8" : options.fp8_kv_cache ? "FP8" : null;
  if (quantAlgo === null && kvCacheQuantAlgo === null) return undefined;
  return {
    ...UNQUANTIZED,
    quantAlgo,
    kvCacheQuantAlgo,
    groupSize: quantAlgo === "W4A16_AWQ" ? options.awq_block_size : (options.group_size ?? 128),
    // ModelOpt's default, which quantize.py does not change.
    smoothquantVal: options.smoothquant ?? (options.qformat === "int8_sq" ? 0.5 : null),
    preQuantScale: quantAlgo === "W4A16_AWQ",
    excludeModules: options.quantize_lm_head ? [] : UNQUANTIZED.excludeModules,
    weightLayout: options.weight_layout,
    floatWeights: options.disable_weight_only_quant_plugin,
  };
}

const FORMATS: Readonly<Record<NonNullable<QuantizationOptions["qformat"]>, QuantAlgo | null>> = {
  full_prec: null,
  int8_wo: "W8A16",
  int4_wo: "W4A16",
  int4_awq: "W4A16_AWQ",
  int8_sq: "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
  fp8: "FP8",
};

function algoOf(options: QuantizationOptions): QuantAlgo | null {
  const grouped = options.per_group || options.group_size !== undefined;
  if (options.smoothquant !== undefined) return smoothAlgo(options);
  const named = options.qformat === undefined ? undefined : FORMATS[options.qformat];
  if (named !== undefined) return named === "W4A16" && grouped ? "W4A16_GPTQ" : named;
  if (!options.use_weight_only) return null;
  if (options.weight_only_precision === "int8") return "W8A16";
  if (options.weight_only_precision === "int4_awq") return "W4A16_AWQ";
  // Codes and scales of groups without zero points or prequant factors: GPTQ's form, whoever made them.
  return grouped || options.weight_only_precision === "int4_gptq" ? "W4A16_GPTQ" : "W4A16";
}

/** TensorRT-LLM's table of the two switches. */
function smoothAlgo({ per_channel, per_token }: QuantizationOptions): QuantAlgo {
  if (per_channel) return per_token ? "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN" : "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN";
  return per_token ? "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN" : "W8A8_SQ_PER_TENSOR_PLUGIN";
}
