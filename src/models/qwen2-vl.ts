import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { LanguageFamily } from "./parts/language.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { readMrope } from "./parts/mrope-spec.ts";
import { readQwen2Tower } from "./parts/packed-vit-spec.ts";
import { mropeConfig, qwenVl } from "./parts/qwen-vl.ts";
import { readQwenWindows } from "./parts/qwen-windows.ts";
import { QWEN2 } from "./qwen2.ts";
import type { DecoderSpec } from "./spec.ts";

/** Qwen2VLTextConfig's own, and Qwen2.5-VL's: the 72B's sizes. */
const DEFAULTS = {
  vocab_size: 152_064,
  hidden_size: 8192,
  intermediate_size: 29_568,
  num_hidden_layers: 80,
  num_attention_heads: 64,
  num_key_value_heads: 8,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-5,
};

const MROPE = { sections: [16, 24, 24], interleaved: false, theta: 1_000_000 };

/** Qwen2 by three positions a token. */
export const QWEN2_VL_TEXT: LanguageFamily = {
  ...QWEN2,
  architecture: "Qwen2VLForConditionalGeneration",
  modelType: "qwen2_vl_text",
  read: readQwen2VlText,
  config: (spec, layout) => ({ ...mropeConfig(QWEN2.config, spec, layout), qwen_type: "qwen2_vl" }),
};

/** Everything mmtrt knows about Qwen2-VL. */
export default defineArchitecture(
  qwenVl({
    architecture: "Qwen2VLForConditionalGeneration",
    modelType: "qwen2_vl",
    language: QWEN2_VL_TEXT,
    readTower: readQwen2Tower,
    pixels: [56 * 56, 28 * 28 * 1280],
  }),
);

function readQwen2VlText(c: ConfigReader): DecoderSpec {
  const spec = readLlamaDecoder(c, true, DEFAULTS, { rope: (part, sizes) => readMrope(part, sizes, MROPE) });
  return {
    ...spec,
    ...readQwenWindows(c, spec.layers, DEFAULTS.num_hidden_layers),
    architecture: "Qwen2VLForConditionalGeneration",
    attentionBias: true,
    outputBias: false,
  };
}
