import { defineArchitecture } from "./architecture.ts";
import { readBart } from "./parts/bart-spec.ts";
import { bartWeights } from "./parts/bart-weights.ts";
import { readTextIdentity } from "./parts/common-keys.ts";
import { encoderDecoderLimits, stackConfig } from "./parts/encoder-decoder-config.ts";
import { crossGraph, encoderDecoderGraph, encoderGraph } from "./parts/encoder-decoder-graph.ts";

/** Everything mmtrt knows about mBART: BART with norms before each block. */
export default defineArchitecture({
  hf: ["MBartForConditionalGeneration"],
  readSpec: c =>
    c.finish({ ...readTextIdentity(c, "MBartForConditionalGeneration", "mbart"), ...readBart(c, "mbart") }),
  weights: bartWeights,
  checkpointConfig: (spec, layout) => stackConfig(spec, layout, "decoder", "bart"),
  encoderConfig: (spec, layout) => stackConfig(spec, layout, "encoder", "bart"),
  limits: encoderDecoderLimits,
  languageGraph: encoderDecoderGraph,
  encoderGraph,
  crossGraph,
});
