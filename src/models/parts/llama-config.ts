import type { CheckpointConfig, CheckpointLayout } from "../architecture.ts";
import type { DecoderSpec } from "../spec.ts";
import { classKeys, fullQuantization, handWrittenKeys, rotaryScaling, weightLayoutKey } from "./checkpoint-config.ts";

/**
 * The config that convert_checkpoint.py dumps for LLaMA and its kin. From Meta's files it takes another path through
 * NVIDIA's code, which leaves two keys out and has other values for keys that mean nothing here; kept, so that configs
 * compare equal.
 */
export function llamaConfig(language: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  const { fromMeta } = layout;
  if (calibrated(layout)) return calibratedConfig(language, layout);
  return {
    ...classKeys(language, layout, fromMeta ? null : ["lm_head"]),
    rotary_base: language.ropeTheta,
    rotary_scaling: rotaryScaling(language),
    ...(fromMeta ? {} : { residual_mlp: false, ...pluginKey(layout) }),
    moe_normalization_mode: fromMeta ? 1 : null,
    moe_num_experts: 0,
    moe_top_k: 0,
    moe_tp_mode: 2,
    attn_bias: language.attentionBias,
    mlp_bias: language.mlpBias,
    ...weightLayoutKey(layout),
  };
}

/** The path that reads GPTQ's files does not write it. */
function pluginKey({ quantization }: CheckpointLayout): Record<string, unknown> {
  if (quantization?.quantAlgo === "W4A16_GPTQ") return {};
  return { disable_weight_only_quant_plugin: quantization?.floatWeights === true };
}

/** SmoothQuant and INT8 caches go through a part of NVIDIA's converter that writes its config by hand. */
function calibrated({ quantization }: CheckpointLayout): boolean {
  return quantization?.quantAlgo?.startsWith("W8A8") === true || quantization?.kvCacheQuantAlgo === "INT8";
}

/** Without the keys that follow from others: head_size, kv_dtype, qk_layernorm, mlp_bias. */
function calibratedConfig(language: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  return {
    ...handWrittenKeys(language, layout),
    residual_mlp: false,
    moe_normalization_mode: null,
    moe_num_experts: 0,
    moe_top_k: 0,
    moe_tp_mode: 2,
    attn_bias: language.attentionBias,
    quantization: fullQuantization(layout, ["lm_head"]),
    disable_weight_only_quant_plugin: layout.quantization?.floatWeights === true,
    ...(language.mlpBias && { mlp_bias: true }),
    ...(language.headDim * language.heads !== language.hiddenSize && { head_size: language.headDim }),
    ...weightLayoutKey(layout),
  };
}
