import { defineArchitecture } from "./architecture.ts";
import type { ConfigReader } from "./config-reader.ts";
import { readTextIdentity } from "./parts/common-keys.ts";
import { decoderGraph } from "./parts/decoder-graph.ts";
import {
  GPT2_IGNORED,
  GPT2_NAMES,
  gpt2Config,
  gpt2Copies,
  gpt2Weights,
  readGpt2Decoder,
} from "./parts/gpt2-decoder.ts";

/** Everything mmtrt knows about GPT-2. */
export default defineArchitecture({
  hf: ["GPT2LMHeadModel"],
  readSpec: (c: ConfigReader) => {
    const language = readGpt2Decoder(c, false);
    return c.finish({ ...readTextIdentity(c, "GPT2LMHeadModel", "gpt2"), language });
  },
  weights: ({ language }) => ({
    names: GPT2_NAMES,
    language: gpt2Weights(language),
    visual: [],
    ignore: GPT2_IGNORED,
    copies: gpt2Copies(language),
  }),
  checkpointConfig: ({ language }, layout) => gpt2Config(language, layout),
  languageGraph: decoderGraph,
});
