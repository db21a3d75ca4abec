import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { onlyFullAttention, readSize } from "./parts/common-keys.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { LLAMA } from "./parts/llama-decoder.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import type { DecoderSpec } from "./spec.ts";

/** MistralConfig's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 14_336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-6,
};

/** What transformers takes where config.json has no such key; null says there is no window. */
const DEFAULT_WINDOW = 4096;

export const MISTRAL: LanguageFamily = {
  ...LLAMA,
  architecture: "MistralForCausalLM",
  modelType: "mistral",
  read: readMistralDecoder,
};

/** Everything mmtrt knows about Mistral: LLaMA, in the first release with a sliding window. */
export default defineArchitecture(textOnly(MISTRAL));

function readMistralDecoder(c: ConfigReader, nested: boolean): DecoderSpec {
  const spec = { ...readLlamaDecoder(c, nested, DEFAULTS), architecture: "MistralForCausalLM" };
  onlyFullAttention(c);
  if (c.raw("sliding_window") === null) return spec;
  return { ...spec, slidingWindow: readSize(c, "sliding_window", DEFAULT_WINDOW) };
}
