import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readDeclaredDtype, readTokenIds, refuseQuantized } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { llamaConfig } from "./parts/llama-config.ts";
import { readLlamaDecoder } from "./parts/llama-spec.ts";
import { LLAMA_IGNORED, LLAMA_NAMES, llamaWeights } from "./parts/llama-weights.ts";
import type { ModelSpec } from "./spec.ts";

/** Everything mmtrt knows about LLaMA 1–3, Vicuna, TinyLlama, SmolLM and others saved under LLaMA's class. */
export default defineArchitecture({
  hf: ["LlamaForCausalLM", "LLaMAForCausalLM"],
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
  refuseQuantized(c);
  const language = readLlamaDecoder(c, false);
  const [bos] = readTokenIds(c, "bos_token_id");
  const [pad] = readTokenIds(c, "pad_token_id");
  return c.finish({
    architecture: "LlamaForCausalLM",
    modelType: "llama",
    declaredDtype: readDeclaredDtype(c),
    language,
    ...(bos !== undefined && { bosTokenId: bos }),
    eosTokenIds: readTokenIds(c, "eos_token_id"),
    ...(pad !== undefined && { padTokenId: pad }),
  });
}
