import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readTextIdentity } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import { OPT_NAMES, optConfig, optCopies, optLimits, optWeights, readOptDecoder } from "./parts/opt-decoder.ts";

/** Everything mmtrt knows about OPT, 125m to 66b; opt-350m's narrow embeddings and post-norm included. */
export default defineArchitecture({
  hf: ["OPTForCausalLM"],
  readSpec: (c: ConfigReader) => {
    const language = readOptDecoder(c, false);
    return c.finish({ ...readTextIdentity(c, "OPTForCausalLM", "opt"), language });
  },
  weights: ({ language }) => ({
    names: OPT_NAMES,
    language: optWeights(language),
    visual: [],
    ignore: [],
    copies: optCopies(language),
  }),
  checkpointConfig: ({ language }, layout) => optConfig(language, layout),
  limits: ({ language }) => optLimits(language),
  languageGraph: decoderGraph,
});
