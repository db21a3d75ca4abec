import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { GEMMA_BASE, readGemmaDecoder } from "./parts/gemma-decoder.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { readActivation } from "./parts/llama-spec.ts";
import type { DecoderSpec } from "./spec.ts";

/** GemmaConfig's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 256_000,
  hidden_size: 3072,
  intermediate_size: 24_576,
  num_hidden_layers: 28,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  head_dim: 256,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
};

export const GEMMA: LanguageFamily = {
  ...GEMMA_BASE,
  architecture: "GemmaForCausalLM",
  modelType: "gemma",
  read: readGemma1Decoder,
};

/** Everything mmtrt knows about the first Gemma. */
export default defineArchitecture(textOnly(GEMMA));

/** `bothWays`: the model around it is PaliGemma. */
export function readGemma1Decoder(c: ConfigReader, nested: boolean, bothWays = false): DecoderSpec {
  const spec = readGemmaDecoder(c, nested, DEFAULTS, { bothWays });
  const named = readActivation(c, c.has("hidden_activation") ? "hidden_activation" : "hidden_act", "gelu_pytorch_tanh");
  c.ignore("hidden_activation");
  // Published first with "gelu", which transformers 4 reads as what Gemma was trained with.
  return { ...spec, architecture: "GemmaForCausalLM", activation: named === "gelu" ? "gelu_tanh" : named };
}
