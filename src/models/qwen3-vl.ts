import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { LanguageFamily } from "./parts/language.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { readMrope } from "./parts/mrope-spec.ts";
import { readQwen3Tower } from "./parts/packed-vit-spec.ts";
import { mropeConfig, qwenVl } from "./parts/qwen-vl.ts";
import { QWEN3 } from "./qwen3.ts";
import type { DecoderSpec } from "./spec.ts";

/** Qwen3VLTextConfig's own. */
const DEFAULTS = {
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  head_dim: 128,
  max_position_embeddings: 128_000,
  rms_norm_eps: 1e-6,
};

const MROPE = { sections: [24, 20, 20], interleaved: true, theta: 500_000 };

/** Qwen3 by three positions a token. */
const QWEN3_VL_TEXT: LanguageFamily = {
  ...QWEN3,
  architecture: "Qwen3VLForConditionalGeneration",
  modelType: "qwen3_vl_text",
  read: readQwen3VlText,
  config: (spec, layout) => ({ ...mropeConfig(QWEN3.config, spec, layout), qwen_type: "qwen3_vl" }),
};

/** Everything mmtrt knows about Qwen3-VL: an encoder with a stretched position table, and features of several of its layers in the first layers of a Qwen3. */
export default defineArchitecture(
  qwenVl({
    architecture: "Qwen3VLForConditionalGeneration",
    modelType: "qwen3_vl",
    language: QWEN3_VL_TEXT,
    readTower: readQwen3Tower,
    pixels: [56 * 56, 28 * 28 * 1280],
    published: name =>
      name.startsWith("visual.") ? `model.${name}` : name.replace(/^model\./, "model.language_model."),
  }),
);

function readQwen3VlText(c: ConfigReader): DecoderSpec {
  const spec = readLlamaDecoder(c, true, DEFAULTS, { rope: (part, sizes) => readMrope(part, sizes, MROPE) });
  return { ...spec, architecture: "Qwen3VLForConditionalGeneration", qkNorm: true };
}
