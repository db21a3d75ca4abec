import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { conflict, readSize } from "./parts/common-keys.ts";
import { GEMMA_BASE, gemmaConfig, readCap, readGemma2Choices, readGemmaDecoder } from "./parts/gemma-decoder.ts";
import { type LanguageFamily, textOnly } from "./parts/language.ts";
import { layerKinds, readSlidingLayers } from "./parts/layer-kinds.ts";
import { readActivation } from "./parts/llama-spec.ts";
import type { DecoderSpec } from "./spec.ts";

/** Gemma2Config's own: of a nested config keys with these values are left out. */
const DEFAULTS = {
  vocab_size: 256_000,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
};
const DEFAULT_WINDOW = 4096;
const CAPS = { score: 50, logit: 30 };

export const GEMMA2: LanguageFamily = {
  ...GEMMA_BASE,
  architecture: "Gemma2ForCausalLM",
  modelType: "gemma2",
  read: readGemma2Decoder,
  config: (spec, layout) => ({ ...gemmaConfig(spec, layout), attn_logit_softcapping: spec.scoreCap ?? null }),
};

/** Everything mmtrt knows about Gemma 2: every other layer, from the first, sees a window. */
export default defineArchitecture(textOnly(GEMMA2));

/** `bothWays`: the model around it is PaliGemma 2. */
export function readGemma2Decoder(c: ConfigReader, nested: boolean, bothWays = false): DecoderSpec {
  const spec = readGemmaDecoder(c, nested, DEFAULTS, { bothWays });
  const window = c.raw("sliding_window") === null ? undefined : readSize(c, "sliding_window", DEFAULT_WINDOW);
  // Another name of it in some published files.
  if (c.has("sliding_window_size") && readSize(c, "sliding_window_size") !== window)
    conflict(c, "sliding_window_size", c.raw("sliding_window_size"), "sliding_window", window ?? null);
  const sliding = readSlidingLayers(c, spec.layers, layer => layer % 2 === 0);
  const kinds = sliding.map(slides => ({
    rope: "global" as const,
    ...(slides && window !== undefined && { window }),
  }));
  const scoreCap = readCap(c, "attn_logit_softcapping", CAPS.score);
  // transformers reads hidden_activation alone, and writes both.
  return {
    ...spec,
    architecture: "Gemma2ForCausalLM",
    activation: readActivation(c, "hidden_activation", "gelu_pytorch_tanh"),
    ...readGemma2Choices(c, CAPS.logit),
    ...(scoreCap !== undefined && { scoreCap }),
    ...layerKinds(kinds),
  };
}
