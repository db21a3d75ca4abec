import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { ModelSpec } from "./spec.ts";
import t5 from "./t5.ts";

/** Everything mmtrt knows about mT5: T5 v1.1 with an lm_head of its own, whose logits are never scaled. */
export default defineArchitecture({ ...t5, hf: ["MT5ForConditionalGeneration"], readSpec: readMt5 });

function readMt5(c: ConfigReader): ModelSpec {
  // MT5Config's default is another than T5Config's; every published config.json says it.
  c.text("feed_forward_proj");
  const { encoderDecoder, language, ...spec } = t5.readSpec(c);
  return {
    ...spec,
    architecture: "MT5ForConditionalGeneration",
    modelType: "mt5",
    // tie_word_embeddings is false where mT5 was published, and true where transformers 5 saved the same weights.
    language: { ...language, tiedEmbeddings: false },
    ...(encoderDecoder && { encoderDecoder: { ...encoderDecoder, scaledLogits: false } }),
  };
}
