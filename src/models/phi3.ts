import { type CheckpointConfig, type CheckpointLayout, defineArchitecture, type WeightRule } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { classKeys, weightLayoutKey } from "./parts/checkpoint-config.ts";
import { readSize } from "./parts/common-keys.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { llamaWeights } from "./parts/llama-weights.ts";
import { readPartialRope } from "./parts/rope-spec.ts";
import type { DecoderSpec } from "./spec.ts";

/** Phi3Config's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 32_064,
  hidden_size: 3072,
  intermediate_size: 8192,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-5,
};

export const PHI3: LanguageFamily = {
  ...LLAMA,
  architecture: "Phi3ForCausalLM",
  modelType: "phi3",
  read: readPhi3Decoder,
  weights: phi3Weights,
  config: phi3Config,
};

/** Everything mmtrt knows about Phi-3, Phi-3.5-mini and Phi-4-mini: LLaMA with one product for q, k, v and one for gate and up. */
export default defineArchitecture(textOnly(PHI3));

function readPhi3Decoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const spec = readLlamaDecoder(c, nested, DEFAULTS, { rope: readPartialRope });
  // Of training alone.
  c.ignore("resid_pdrop", "embd_pdrop");
  for (const key of ["attention_bias", "mlp_bias", "lm_head_bias"])
    c.only(key, [false], "the class has no biases, whatever the key says");
  // Of Phi-4-mini's config.json; its class reads neither.
  c.only("full_attn_mod", [1], "some layers would have another attention");
  c.only("interpolate_factor", [1], "positions would be divided by it");
  const window = c.has("sliding_window") ? readSize(c, "sliding_window") : undefined;
  c.ignore("sliding_window");
  return {
    ...spec,
    architecture: "Phi3ForCausalLM",
    mlp: "fused",
    ...(window !== undefined && { slidingWindow: window }),
  };
}

/** LLaMA's, but what Phi-3 stores as one. TensorRT-LLM's swiglu takes up's rows before gate's; stored they are the other way round. */
function phi3Weights(spec: DecoderSpec): WeightRule[] {
  const { heads, kvHeads, headDim, hiddenSize, intermediateSize: half } = spec;
  const sizes = [heads, kvHeads, kvHeads].map(count => count * headDim);
  const rows = sizes.reduce((sum, size) => sum + size, 0);
  const stored = (name: string, out: number): WeightRule["from"] => [
    { name: `model.layers.{l}.${name}.weight`, shape: [out, hiddenSize] },
  ];
  return llamaWeights(spec).flatMap((rule): WeightRule[] => {
    if (rule.to.endsWith("attention.qkv.weight"))
      return [{ ...rule, from: stored("self_attn.qkv_proj", rows), cut: sizes }];
    if (rule.to.endsWith("mlp.fc.weight")) {
      const order = [[half, 2 * half] as const, [0, half] as const];
      return [{ ...rule, from: stored("mlp.gate_up_proj", 2 * half), split: "halves", rows: order }];
    }
    return rule.to.endsWith("mlp.gate.weight") ? [] : [rule];
  });
}

/** As TensorRT-LLM's Phi3Config dumps it; models for 128 000 positions and more have LongRoPE under names of its own. */
function phi3Config(spec: DecoderSpec, layout: CheckpointLayout): CheckpointConfig {
  const { ropeScaling: scaling } = spec;
  const parameters = scaling?.type === "longrope" ? scaling.parameters : undefined;
  return {
    ...classKeys(spec, layout, ["lm_head"]),
    hidden_act: spec.activation === "silu" ? "swiglu" : spec.activation,
    rotary_base: spec.ropeTheta,
    rotary_scaling: null,
    rotary_pct: (spec.rotaryDim ?? spec.headDim) / spec.headDim,
    tie_word_embeddings: spec.tiedEmbeddings,
    ...(parameters && {
      position_embedding_type: "long_rope",
      original_max_position_embeddings: parameters.original_max_position_embeddings,
      longrope_scaling_short_factors: parameters.short_factor,
      longrope_scaling_long_factors: parameters.long_factor,
    }),
    ...weightLayoutKey(layout),
  };
}
