import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { onlyFullAttention, readTextIdentity } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { llamaConfig } from "./parts/llama-config.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { LLAMA_IGNORED, LLAMA_NAMES, llamaWeights } from "./parts/llama-weights.ts";
import type { ModelSpec } from "./spec.ts";

/** Everything mmtrt knows about Mistral: LLaMA, in the first release with a sliding window. */
export default defineArchitecture({
  hf: ["MistralForCausalLM"],
  readSpec,
  weights: ({ language }) => ({
    names: LLAMA_NAMES,
    language: llamaWeights(language),
    visual: [],
    ignore: LLAMA_IGNORED,
    ...(language.tiedEmbeddings && { copies: [{ name: "lm_head.weight", of: "model.embed_tokens.weight" }] }),
  }),
  checkpointConfig: ({ language }, layout) => llamaConfig(language, layout),
  languageGraph: decoderGraph,
});

function readSpec(c: ConfigReader): ModelSpec {
  const language = { ...readLlamaDecoder(c, false), architecture: "MistralForCausalLM" };
  onlyFullAttention(c);
  if (c.has("sliding_window") && c.integer("sliding_window") < language.maxPositions) {
    c.problem(
      "SPC004",
      "sliding_window",
      `is ${c.raw("sliding_window")}, shorter than max_position_embeddings ${language.maxPositions}`,
      "tokens further back than the window would have to be hidden, and the graph shows all of them",
      "convert a release without a window (Mistral 7B from v0.2 on), or lower max_position_embeddings to the window if prompts and answers stay within it",
    );
  }
  c.ignore("sliding_window");
  return c.finish({ ...readTextIdentity(c, "MistralForCausalLM", "mistral"), language });
}
